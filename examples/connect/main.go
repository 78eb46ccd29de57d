// connect protects the methods of a Connect service, also for gRPC clients, with the access tokens of
// an issuer. Clients map the status of a refusal: 401 is unauthenticated, 403 permission denied, 503
// unavailable.
//
//	go run ./connect -issuer http://127.0.0.1:8401
//	curl -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d '{}' http://127.0.0.1:8080/notes.v1.NotesService/Read
package main

import (
	"context"
	"flag"
	"log"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// A real service has generated types and paths.
const service = "/notes.v1.NotesService/"

func read(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[wrapperspb.StringValue], error) {
	return connect.NewResponse(wrapperspb.String("the notes of " + durward.From(ctx).Subject)), nil
}

func write(context.Context, *connect.Request[wrapperspb.StringValue]) (*connect.Response[emptypb.Empty], error) {
	return connect.NewResponse(new(emptypb.Empty)), nil
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	issuer := flag.String("issuer", "http://127.0.0.1:8401", "the exact iss of the tokens; its keys are at /.well-known/jwks.json")
	audience := flag.String("audience", "http://127.0.0.1:8401", "the name of this API in aud")
	flag.Parse()

	guard, err := durward.New(durward.Config{Realm: "notes", Schemes: []durward.Scheme{jwt.Bearer(*issuer, *audience)}})
	if err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle(service+"Read", connect.NewUnaryHandler(service+"Read", read))
	// Inside the guard only the policy is checked; the credentials are verified already.
	mux.Handle(service+"Write", guard.Require(durward.Policy{Scopes: []string{"write"}}, connect.NewUnaryHandler(service+"Write", write)))

	server := &http.Server{Addr: *listen, Handler: guard.Handler(mux), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true) // for gRPC; use TLS in production
	log.Fatal(server.ListenAndServe())
}
