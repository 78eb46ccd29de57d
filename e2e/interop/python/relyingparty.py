"""A relying party of Authlib with httpx: a confidential client with PKCE.

Standard input: {address, issuer, client, secret, api}. GET /start begins a sign-in. /callback completes it,
uses all that the library offers, and answers with a line for each step.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from authlib.jose import JsonWebToken
from authlib.oidc.core import CodeIDToken

c = json.load(sys.stdin)
origin = "http://" + c["address"]


def body(response):
    response.raise_for_status()
    return response


metadata = body(httpx.get(c["issuer"] + "/.well-known/openid-configuration")).json()
assert metadata["issuer"] == c["issuer"]
session = OAuth2Client(
    c["client"],
    c["secret"],
    scope="openid email offline_access notes",
    redirect_uri=origin + "/callback",
    code_challenge_method="S256",
    token_endpoint=metadata["token_endpoint"],
    revocation_endpoint_auth_method="client_secret_basic",
    trust_env=False,
)
verifier, nonce = generate_token(48), generate_token()


def begin():
    url, session.state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce, resource=c["api"]
    )
    return url


def call():
    return body(session.get(c["api"])).text.strip()


def finish(response):
    token = session.fetch_token(authorization_response=response, code_verifier=verifier)
    keys = body(httpx.get(metadata["jwks_uri"])).json()
    claims = JsonWebToken(metadata["id_token_signing_alg_values_supported"]).decode(
        token["id_token"],
        key=keys,
        claims_cls=CodeIDToken,
        claims_options={"iss": {"values": [c["issuer"]]}},
        claims_params={"client_id": c["client"], "nonce": nonce, "access_token": token["access_token"]},
    )
    claims.validate(leeway=5)
    yield "signed in " + claims["sub"]
    yield "userinfo " + body(session.get(metadata["userinfo_endpoint"])).json()["email"]
    yield "api " + call()
    session.refresh_token(metadata["token_endpoint"], token["refresh_token"], resource=c["api"])
    yield "refreshed, api " + call()
    last = session.token["refresh_token"]
    found = session.introspect_token(metadata["introspection_endpoint"], token=last, token_type_hint="refresh_token").json()
    yield "introspected %s %s" % (json.dumps(found["active"]), found.get("sub"))
    body(session.revoke_token(metadata["revocation_endpoint"], token=last, token_type_hint="refresh_token"))
    yield "revoked"
    try:
        session.refresh_token(metadata["token_endpoint"], last)
        yield "refresh: done"
    except OAuthError as e:
        yield "refresh: " + e.error
    refused = session.get(metadata["userinfo_endpoint"])
    yield "userinfo: " + ("invalid_token" if 'error="invalid_token"' in refused.headers["www-authenticate"] else str(refused))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/start":
            self.send_response(302)
            self.send_header("Location", begin())
            self.end_headers()
            return
        lines = []
        try:
            lines.extend(finish(origin + self.path))
        except Exception as e:
            import traceback
            traceback.print_exc()
            lines.append("failed: %r" % e)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write("".join(line + "\n" for line in lines).encode())


host, port = c["address"].split(":")
HTTPServer((host, int(port)), Handler).serve_forever()
