package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Scheme explains one authentication scheme: the name that begins a challenge and the credentials for it
// (RFC 9110 s11.1).
type Scheme struct {
	Name       string // as registered or as its vendor writes it; compared case-insensitively
	Registered bool   // in the HTTP Authentication Scheme Registry of IANA
	Answered   bool   // `durward fetch` and the client of the library can answer its challenge
	Reference  Clause // empty if no public document defines the scheme
	What       string // the credentials that the client sends, one sentence
	Who        string // who uses it, one sentence
	Do         string // the next step of a client
}

var rfcReference = regexp.MustCompile(`^RFC ([0-9]+)$`)

// reference reads "RFC 7617" or a clause as in front matter.
func reference(text string) (c Clause) {
	if m := rfcReference.FindStringSubmatch(text); m != nil {
		return Clause{text, "https://www.rfc-editor.org/rfc/rfc" + m[1]}
	}
	if text != "" && c.UnmarshalText([]byte(text)) != nil {
		panic("explain: reference of a scheme: " + text) // a test reads all
	}
	return c
}

// SchemeOf returns the explanation of a scheme, and false if the table lacks it.
func SchemeOf(name string) (Scheme, bool) {
	i := slices.IndexFunc(Schemes, func(s Scheme) bool { return strings.EqualFold(s.Name, name) })
	if i < 0 {
		return Scheme{}, false
	}
	return Schemes[i], true
}

// Summary describes a scheme and the next step of a client, in two or three sentences.
func (s Scheme) Summary() string { return s.What + " " + s.Do }

// Text returns the explanation for a terminal, wrapped to width columns.
func (s Scheme) Text(width int) string {
	kind := "a scheme in use, not registered at IANA"
	if s.Registered {
		kind = "a scheme of IANA's registry"
	}
	answered := "durward fetch cannot answer its challenge."
	if s.Answered {
		answered = "durward fetch answers its challenge."
	}
	text := fmt.Sprintf("%s: %s\n\n%s", s.Name, kind, wrap(s.What, width)) +
		"\nUsed by\n" + wrap(s.Who, width) + "\nWhat to do\n" + wrap(s.Do+" "+answered, width)
	if s.Reference.URL != "" {
		text += fmt.Sprintf("\nReference\n%s: %s\n", s.Reference.Name, s.Reference.URL)
	}
	return text
}

// Schemes lists the schemes: those of the HTTP Authentication Scheme Registry of IANA
// (https://www.iana.org/assignments/http-authschemes), then others in use, each by name.
var Schemes = []Scheme{
	{
		"Basic", true, true, reference("RFC 7617"),
		"The client sends the user name and the password with each request, in base64, which hides nothing.",
		"Web servers, proxies, package registries and many APIs, which take a key in place of the password.",
		"Use it over https only. With durward: fetch --user NAME. With curl: -u NAME.",
	},
	{
		"Bearer", true, true, reference("RFC 6750"),
		"The client sends an access token; all who hold it may use it.",
		"OAuth 2.0, OpenID Connect and most APIs of today.",
		"Get a token from the authorization server that the API names. With durward: login, or fetch --token-file FILE.",
	},
	{
		"Concealed", true, false, reference("RFC 9729"),
		"The client signs values of the TLS connection with a key that the server knows. The server sends no challenge and " +
			"hides that it needs authentication.",
		"Servers that do not want to be found, such as entries to VPNs; few programs support it.",
		"Use a client of the operator: the scheme needs the TLS library, so no header alone can answer it.",
	},
	{
		"Digest", true, true, reference("RFC 7616"),
		"The client proves that it knows the password with a hash over the password, a nonce of the server and the request.",
		"Cameras, routers, SIP devices, WebDAV and older web servers; most of them with MD5.",
		"Answer the nonce of the latest challenge. With durward: fetch --user NAME. With curl: --digest -u NAME.",
	},
	{
		"DPoP", true, true, reference("RFC 9449 s7.1"),
		"The client sends an access token that is bound to a key, and proves with a signed JWT that it holds the key.",
		"OAuth servers that protect tokens against theft, FAPI 2.0, Bluesky.",
		"Send the token as DPoP, not as Bearer, with a new proof for each request. With durward: login, then fetch.",
	},
	{
		"GNAP", true, false, reference("RFC 9635 s7.2"),
		"The client sends an access token of the Grant Negotiation and Authorization Protocol, bound to its key or not.",
		"Interledger and Open Payments, and few others.",
		"Use a library for GNAP: requests are signed with HTTP message signatures (RFC 9421).",
	},
	{
		"HOBA", true, false, reference("RFC 7486"),
		"The client signs a challenge of the server with a key that it made for this origin.",
		"Experiments; passkeys (WebAuthn) took its place.",
		"Ask the operator for another way in; no common client supports it.",
	},
	{
		"Mutual", true, false, reference("RFC 8120"),
		"Client and server prove to each other that they know a password or its hash, without sending it.",
		"Experiments. It is not mutual TLS, which happens below HTTP and has no scheme.",
		"If the operator means client certificates, connect with one (curl --cert). Otherwise ask for another way in.",
	},
	{
		"Negotiate", true, false, reference("RFC 4559"),
		"The client sends a Kerberos ticket, or NTLM messages, that its system made for the host name of the server.",
		"Active Directory: IIS, SharePoint, Exchange, Apache with mod_auth_gssapi, company proxies.",
		"Sign in to the domain (kinit), use the host name and not the address, then curl --negotiate -u : or a browser that " +
			"trusts the site. The connection must stay open if the messages are NTLM.",
	},
	{
		"OAuth", true, false, reference("RFC 5849 s3.5.1"),
		"The client of OAuth 1.0 signs each request with the secrets of the client and of the token.",
		"Older APIs, such as X, Trello, Flickr and Schoology. Some services take OAuth 2.0 tokens under this name: Salesforce, " +
			"Twitch, Yandex.",
		"Find out which of both the API means. For OAuth 1.0 use a library that signs: the clock and the encoding of " +
			"parameters matter.",
	},
	{
		"PrivateToken", true, false, reference("RFC 9577"),
		"The client sends a token of Privacy Pass, which an issuer made and which does not identify the client.",
		"Content delivery networks, in place of captchas; Apple systems answer it by themselves.",
		"Use a browser or system with Privacy Pass. Programs ask the operator for an address for APIs.",
	},
	{
		"SCRAM-SHA-1", true, false, reference("RFC 7804"),
		"Client and server prove in four messages that they know a salted hash of the password.",
		"Few servers; SCRAM is common in databases and XMPP, and rare in HTTP. SCRAM-SHA-256 is stronger.",
		"Use the client of the product. Over https, ask for Basic or tokens instead.",
	},
	{
		"SCRAM-SHA-256", true, false, reference("RFC 7804"),
		"Client and server prove in four messages that they know a salted hash of the password.",
		"Few servers; SCRAM is common in databases and XMPP, and rare in HTTP.",
		"Use the client of the product. Over https, ask for Basic or tokens instead.",
	},
	{
		"vapid", true, false, reference("RFC 8292"),
		"A server that sends push messages identifies itself with a signed JWT and its public key.",
		"Push services of browsers: Mozilla, Google, Apple, Microsoft.",
		"Sign with the key that the page gave to the browser; aud is the origin of the push service and exp at most a day away. " +
			"Use a library for Web Push.",
	},

	{
		"ACS3-HMAC-SHA256", false, false,
		reference("Alibaba Cloud <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>"),
		"The client signs the request with the secret of an access key.",
		"APIs of Alibaba Cloud.",
		"Use the SDK or the command aliyun; clock, region and signed fields must be right.",
	},
	{
		"ApiKey", false, false,
		reference("Elasticsearch <https://www.elastic.co/guide/en/elasticsearch/reference/current/security-api-create-api-key.html>"),
		"The client sends an API key, plain or in base64, or in a field of its own such as X-API-Key.",
		"Elasticsearch and Kibana, Durward, and many APIs, each in its own form.",
		"Read in the API's documentation in which field the key belongs. A Durward server takes it as X-API-Key, and " +
			"fetch --token-file FILE sends it as Bearer.",
	},
	{
		"AWS", false, false, reference("Amazon S3 <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html>"),
		"The client signs the request with HMAC-SHA1 and the secret of an access key: version 2 of the signature.",
		"Older stores that are compatible with S3, such as Ceph. Amazon accepts it in old regions alone.",
		"Use version 4 of the signature: update the SDK.",
	},
	{
		"AWS4-ECDSA-P256-SHA256", false, false,
		reference("AWS Signature Version 4 <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>"),
		"The client signs the request with a key that was derived from the secret, for several regions at once.",
		"Amazon S3 with multi-region access points.",
		"Use an AWS SDK with support for SigV4a.",
	},
	{
		"AWS4-HMAC-SHA256", false, false,
		reference("AWS Signature Version 4 <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>"),
		"The client signs method, path, query, fields and body with a key of day, region and service that comes from its secret.",
		"All of Amazon Web Services, and stores compatible with S3: MinIO, Ceph, Cloudflare R2, Wasabi.",
		"Use an SDK or curl --aws-sigv4 with -u. Check region, service, clock and that no proxy changes the request.",
	},
	{
		"Bot", false, false, reference("Discord <https://discord.com/developers/docs/reference>"),
		"The client sends the token of a bot.",
		"Discord.",
		"Write Authorization: Bot TOKEN; with Bearer the token is refused.",
	},
	{
		"Client-ID", false, false, reference("Unsplash <https://unsplash.com/documentation>"),
		"The client sends the public identifier of its registered application.",
		"Unsplash, Imgur.",
		"It gives read access to public data alone; for data of users get an OAuth token and send it as Bearer.",
	},
	{
		"Cookie", false, false, reference("Cookie-based HTTP authentication (draft) <https://datatracker.ietf.org/doc/html/draft-broyer-http-cookie-auth-00>"),
		"The client sends a session cookie that it got at a page for signing in.",
		"Web applications that must send a challenge with a 401 and have no other scheme.",
		"Sign in at the page and send the cookie. Programs ask the operator for tokens.",
	},
	{
		"DeepL-Auth-Key", false, false, reference("DeepL <https://developers.deepl.com/docs/getting-started/auth>"),
		"The client sends an API key.",
		"DeepL.",
		"Write Authorization: DeepL-Auth-Key KEY. Keys that end in :fx belong to the host api-free.deepl.com.",
	},
	{
		"Discogs", false, false, reference("Discogs <https://www.discogs.com/developers>"),
		"The client sends a personal token, or key and secret of its application.",
		"Discogs.",
		"Write Authorization: Discogs token=TOKEN, or Discogs key=KEY, secret=SECRET, and send a User-Agent of your own.",
	},
	{
		"EG1-HMAC-SHA256", false, false, reference("Akamai EdgeGrid <https://techdocs.akamai.com/developer/docs/edgegrid>"),
		"The client signs the request with its client secret, a time and a nonce.",
		"Akamai.",
		"Use an EdgeGrid library with the file .edgerc; the clock may differ by 30 seconds.",
	},
	{
		"FlyV1", false, false, reference("Fly.io <https://fly.io/docs/machines/api/working-with-machines-api/>"),
		"The client sends a macaroon, with its discharges behind commas.",
		"Fly.io.",
		"Write Authorization: FlyV1 TOKEN if the token begins with fm; older tokens go with Bearer.",
	},
	{
		"GenieKey", false, false, reference("Opsgenie <https://docs.opsgenie.com/docs/authentication>"),
		"The client sends an API key.",
		"Opsgenie.",
		"Write Authorization: GenieKey KEY; accounts in Europe have the host api.eu.opsgenie.com.",
	},
	{
		"GOOG4-RSA-SHA256", false, false, reference("Google Cloud Storage <https://cloud.google.com/storage/docs/authentication/signatures>"),
		"The client signs the request, or an address, with the key of a service account.",
		"Google Cloud Storage.",
		"Use the client library or gcloud storage sign-url; check clock and the fields that were signed.",
	},
	{
		"GoogleLogin", false, false, reference("Google ClientLogin <https://developers.google.com/identity/protocols/AuthForInstalledApps>"),
		"The client sends a token that it got for the user's password.",
		"Google APIs until 2015; the old Google Reader API lives on in readers of feeds, such as FreshRSS and Miniflux.",
		"At Google use OAuth 2.0. In a reader of feeds, use its password for the API and Authorization: GoogleLogin auth=TOKEN.",
	},
	{
		"Hawk", false, false, reference("Hawk <https://github.com/mozilla/hawk>"),
		"The client signs each request with a shared key, a time and a nonce.",
		"Mozilla Accounts and Sync, Taskcluster, some trading APIs.",
		"Use a Hawk library. The server sends its time (ts, tsm) in the challenge if the clock is wrong.",
	},
	{
		"HMAC", false, false, Clause{},
		"The client signs the request with a shared secret; fields, order and hash differ from vendor to vendor.",
		"APIs of payments, trading and smart devices.",
		"Follow the vendor's description by the letter, or use its SDK. Compare the text to sign, then the clock.",
	},
	{
		"HMAC-SHA256", false, false,
		reference("Azure App Configuration <https://learn.microsoft.com/azure/azure-app-configuration/rest-api-authentication-hmac>"),
		"The client signs the date, the host and a hash of the body with the secret of an access key.",
		"Azure App Configuration and Azure Communication Services.",
		"Use the SDK of Azure, or a token of Microsoft Entra as Bearer. Check the clock.",
	},
	{
		"JWT", false, false, reference("Atlassian Connect <https://developer.atlassian.com/cloud/confluence/understanding-jwt/>"),
		"The client sends a JWT under another name than Bearer. Some of them contain a hash of the request.",
		"Atlassian Connect, Rails and Django with older packages, go-chi/jwtauth, gin-jwt.",
		"Write JWT in place of Bearer in the Authorization field if the API says so. At Atlassian, check the claim qsh.",
	},
	{
		"KakaoAK", false, false, reference("Kakao <https://developers.kakao.com/docs/latest/en/rest-api/getting-started>"),
		"The client sends the REST API key of an application.",
		"Kakao.",
		"Write Authorization: KakaoAK KEY; data of users need an OAuth token as Bearer.",
	},
	{
		"Key", false, false, reference("fal <https://docs.fal.ai/>"),
		"The client sends an API key under another name than Bearer.",
		"fal and a few other APIs.",
		"Write Authorization: Key KEY; the same key as Bearer is refused.",
	},
	{
		"Kerberos", false, false, reference("Microsoft WS-Management <https://learn.microsoft.com/openspecs/windows_protocols/ms-wsmv/>"),
		"The client sends a Kerberos ticket without the wrapping of Negotiate.",
		"Windows Remote Management, and servers behind an Active Directory.",
		"Sign in to the domain (kinit), use the host name of the server's principal, and a client that supports it, such as " +
			"pywinrm. Most web servers mean Negotiate.",
	},
	{
		"L402", false, false, reference("L402 <https://github.com/lightninglabs/L402>"),
		"The client pays an invoice of the Lightning network and sends the proof of payment with a macaroon.",
		"APIs that sell single calls; the status is 402. An older name is LSAT.",
		"Pay the invoice of the challenge with a client for L402, then send macaroon and preimage.",
	},
	{
		"MAC", false, false, reference("OAuth 2.0 MAC tokens (draft) <https://datatracker.ietf.org/doc/html/draft-ietf-oauth-v2-http-mac-05>"),
		"The client signs each request with a key that it got with its OAuth 2.0 token.",
		"Few APIs, such as TapTap; the draft was never finished, and DPoP took its place.",
		"Use the vendor's SDK; check the clock and the order of the signed lines.",
	},
	{
		"Macaroon", false, false, reference("Snap Store <https://dashboard.snapcraft.io/docs/reference/v1/macaroon.html>"),
		"The client sends a macaroon, a token with conditions, and the discharges of these conditions.",
		"Snap Store and Launchpad of Canonical.",
		"Use snapcraft login; a macaroon that needs a refresh is named in the challenge.",
	},
	{
		"MediaBrowser", false, false, reference("Jellyfin <https://api.jellyfin.org/>"),
		"The client names itself and its device, and sends a token as a parameter.",
		"Jellyfin; Emby writes Emby in its place.",
		"Write Authorization: MediaBrowser Client=\"…\", Device=\"…\", DeviceId=\"…\", Version=\"…\", Token=\"…\", each value in quotes.",
	},
	{
		"Nostr", false, false, reference("NIP-98 <https://github.com/nostr-protocol/nips/blob/master/98.md>"),
		"The client sends an event of Nostr in base64 that it signed for this URL and method.",
		"Media servers and relays of Nostr.",
		"Sign with a client for Nostr; the event may be 60 seconds old.",
	},
	{
		"NTLM", false, false, reference("NTLM over HTTP <https://learn.microsoft.com/openspecs/windows_protocols/ms-ntht/>"),
		"Client and server exchange three messages on one connection; the third one proves the password's hash.",
		"Older Windows servers, Exchange, SharePoint and company proxies.",
		"Use curl --ntlm -u 'DOMAIN\\NAME', over HTTP/1.1 and without a proxy that shares connections. Prefer Kerberos " +
			"(Negotiate): Microsoft retires NTLM.",
	},
	{
		"OSS", false, false,
		reference("Alibaba OSS <https://www.alibabacloud.com/help/en/oss/developer-reference/include-signatures-in-the-authorization-header>"),
		"The client signs the request with HMAC-SHA1 and the secret of an access key.",
		"Object storage of Alibaba Cloud.",
		"Use the SDK or ossutil; newer accounts need OSS4-HMAC-SHA256.",
	},
	{
		"OSS4-HMAC-SHA256", false, false,
		reference("Alibaba OSS <https://www.alibabacloud.com/help/en/oss/developer-reference/include-signatures-in-the-authorization-header>"),
		"The client signs the request with a key of day and region that comes from its secret.",
		"Object storage of Alibaba Cloud.",
		"Use the SDK or ossutil; region, clock and signed fields must be right.",
	},
	{
		"Passport1.4", false, false, reference("Microsoft Passport <https://learn.microsoft.com/openspecs/windows_protocols/ms-pass/>"),
		"The client gets a ticket of a Microsoft sign-in server that the challenge names.",
		"Old Microsoft services; OAuth 2.0 took its place.",
		"Update the client: current services take tokens of Microsoft Entra as Bearer.",
	},
	{
		"PoP", false, false, reference("OAuth signed requests (draft) <https://datatracker.ietf.org/doc/html/draft-ietf-oauth-signed-http-request-03>"),
		"The client sends an access token inside a JWT that it signed for this request.",
		"Microsoft Entra, for services that bind tokens to a device.",
		"Use the Microsoft Authentication Library (MSAL) with proof of possession.",
	},
	{
		"PVEAPIToken", false, false, reference("Proxmox VE <https://pve.proxmox.com/wiki/Proxmox_VE_API>"),
		"The client sends the name and the secret of an API token.",
		"Proxmox Virtual Environment.",
		"Write Authorization: PVEAPIToken=USER@REALM!TOKENID=SECRET, with an equals sign behind the scheme.",
	},
	{
		"SDK-HMAC-SHA256", false, false, reference("Huawei Cloud <https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-provide.html>"),
		"The client signs the request with the secret of an access key.",
		"Huawei Cloud.",
		"Use the SDK; the field X-Sdk-Date may differ from the server's clock by 15 minutes.",
	},
	{
		"Session", false, false, reference("Durward <https://github.com/durward-auth/durward/blob/main/docs/divergences.md>"),
		"The client is a browser with a session cookie; the parameter login is the address of the page for signing in.",
		"Durward servers and programs with its library.",
		"Open the address of login in a browser. Programs use another scheme of the same response.",
	},
	{
		"SharedAccessSignature", false, false, reference("Azure Event Hubs <https://learn.microsoft.com/rest/api/eventhub/generate-sas-token>"),
		"The client sends a signature over the address of the resource and an expiry time.",
		"Azure Service Bus, Event Hubs, IoT Hub and Notification Hubs.",
		"Make a new token: se is its end in seconds since 1970, sr the address in lower case, skn the name of the policy.",
	},
	{
		"SharedKey", false, false, reference("Azure Storage <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>"),
		"The client signs the request with the key of the storage account.",
		"Azure Storage and Azure Monitor.",
		"Use the SDK, azcopy, or a token of Microsoft Entra as Bearer. Check x-ms-date and the canonical text in the error's body.",
	},
	{
		"SharedKeyLite", false, false, reference("Azure Storage <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>"),
		"The client signs fewer fields of the request with the key of the storage account.",
		"Azure Storage, mostly tables.",
		"Use the SDK, or a token of Microsoft Entra as Bearer.",
	},
	{
		"Signature", false, false, reference("Signing HTTP messages (draft) <https://datatracker.ietf.org/doc/html/draft-cavage-http-signatures-12>"),
		"The client signs fields of the request with a key that keyId names.",
		"Mastodon and other servers of ActivityPub, Oracle Cloud, some banks (PSD2).",
		"Sign (request-target), host, date and digest as the challenge lists them, and check the clock. RFC 9421 is the " +
			"standard that follows it, and has its own fields.",
	},
	{
		"Snowflake", false, false, reference("Snowflake <https://docs.snowflake.com/en/developer-guide/sql-api/authenticating>"),
		"The client sends the token of a session as the parameter Token.",
		"Drivers of Snowflake; its SQL API takes tokens as Bearer.",
		"Use a driver, or Bearer with X-Snowflake-Authorization-Token-Type, which names the kind of token.",
	},
	{
		"Splunk", false, false, reference("Splunk <https://docs.splunk.com/Documentation/Splunk/latest/RESTUM/RESTusing>"),
		"The client sends a session key, or the token of the HTTP event collector.",
		"Splunk.",
		"Write Authorization: Splunk KEY. The event collector listens at another port and takes its own tokens alone.",
	},
	{
		"sso-key", false, false, reference("GoDaddy <https://developer.godaddy.com/getstarted>"),
		"The client sends an API key and its secret with a colon between them.",
		"GoDaddy.",
		"Write Authorization: sso-key KEY:SECRET. Keys for tests belong to the host api.ote-godaddy.com.",
	},
	{
		"SSWS", false, false, reference("Okta <https://developer.okta.com/docs/reference/core-okta-api/>"),
		"The client sends an API token of an administrator.",
		"Okta.",
		"Write Authorization: SSWS TOKEN. A token ends after 30 days without use; OAuth tokens go with Bearer.",
	},
	{
		"TC3-HMAC-SHA256", false, false, reference("Tencent Cloud <https://cloud.tencent.com/document/api/213/30654>"),
		"The client signs the request with a key of day and service that comes from its secret.",
		"Tencent Cloud.",
		"Use the SDK; X-TC-Timestamp may differ from the server's clock by 5 minutes.",
	},
	{
		"Token", false, false, reference("Django REST framework <https://www.django-rest-framework.org/api-guide/authentication/>"),
		"The client sends a key that the server keeps, under another name than Bearer.",
		"Django REST framework, NetBox, Rails, InfluxDB, Home Assistant tools; GitHub takes it beside Bearer.",
		"Write Authorization: Token KEY; a server that offers Token refuses the same key as Bearer.",
	},
	{
		"WSSE", false, false, reference("WSS UsernameToken <https://docs.oasis-open.org/wss/v1.1/wss-v1.1-spec-os-UsernameTokenProfile.pdf>"),
		"The client sends a hash of a nonce, a time and the password in the field X-WSSE.",
		"Older services of blogs (Atom) and of mail marketing, such as Emarsys.",
		"Send X-WSSE: UsernameToken …, with a new nonce for each request and a right clock; use https.",
	},
	{
		"X-MobileMe-AuthToken", false, false, Clause{},
		"The client sends a token of an Apple account in base64.",
		"Calendars and contacts of iCloud, for Apple's own programs.",
		"Other programs answer the challenge Basic beside it, with an app password of the Apple account.",
	},
	{
		"xBasic", false, false, Clause{},
		"It is Basic under a name that browsers do not know, so that they show no dialog of their own.",
		"Single-page applications with an API for passwords, also as x-basic.",
		"Send Authorization: Basic as RFC 7617 says; many of these servers accept it. With curl: -u NAME, without --anyauth.",
	},
	{
		"Zoho-oauthtoken", false, false, reference("Zoho <https://www.zoho.com/accounts/protocol/oauth.html>"),
		"The client sends an OAuth 2.0 access token under the name of the vendor.",
		"Zoho.",
		"Write Authorization: Zoho-oauthtoken TOKEN, at the host of the data centre that issued it (.com, .eu, .in).",
	},
}
