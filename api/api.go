// Package api is the API of a Durward server for programs: its wire types, a [Client] for sign-in,
// step-up and sign-out, and [Revocations], the list of revoked tokens.
//
// A program that acts for its user signs the user in once and sends the tokens with [client.New]:
//
//	server, err := api.NewClient(api.ClientConfig{
//		URL:   "https://auth.example.com",
//		Store: client.FileStore{Path: path},
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	if _, err := server.SignIn(ctx, "ada@example.com", password); err != nil {
//		log.Fatal(err)
//	}
//	c := client.New(server.Source(client.TokensConfig{Origins: []string{"https://api.example.com"}}))
//
// A service that verifies tokens with package jwt follows the revocations of the server. It refuses a
// revoked token within a second, without a request to the server for each token:
//
//	revoked, err := api.NewRevocations(ctx, api.Config{URL: "https://auth.example.com", Token: key})
//	if err != nil {
//		log.Fatal(err)
//	}
//	go revoked.Run(ctx)
//	verifier, err := jwt.New(jwt.Config{
//		Issuer: "https://auth.example.com", Audience: …, Keys: …,
//		Revoked: revoked.Check, RevokedAsOf: revoked.AsOf,
//	})
//
// Its credentials are an API key or access token with the scope revocations. No sign-in has that
// scope; an administrator makes the key:
//
//	durward apikey add root@example.com --name "notes" --scope revocations
//
// The client sends credentials to the server only, over https or to a loopback host, and follows no
// redirect. Check never waits for the server: while the server is away the last list is used, and AsOf
// returns its age. Routes that need a newer list set durward.Policy.Freshness.
package api
