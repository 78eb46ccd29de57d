"""An API in FastAPI, guarded by Authlib with the access tokens of an issuer (RFC 9068).

Standard input: {address, issuer, audience}. GET /x requires the scope profile, /other a scope that no
token has.
"""

import json
import sys
import urllib.request

import uvicorn
from authlib.oauth2 import OAuth2Error, ResourceProtector
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

c = json.load(sys.stdin)


class Validator(JWTBearerTokenValidator):
    def get_jwks(self):
        with urllib.request.urlopen(self.issuer + "/.well-known/jwks.json") as answer:
            return json.load(answer)


protector = ResourceProtector()
protector.register_token_validator(Validator(c["issuer"], c["audience"]))
app = FastAPI()


def scope(name):
    def token(request: Request):
        return protector.validate_request([name], request)

    return Depends(token)


@app.exception_handler(OAuth2Error)
def refuse(request, error):
    status, body, headers = error()
    return JSONResponse(body, status, dict(headers))


@app.get("/x", response_class=PlainTextResponse)
def x(token=scope("profile")):
    return "hello, " + token["sub"]


@app.get("/other", response_class=PlainTextResponse)
def other(token=scope("other")):
    return "hello, " + token["sub"]


host, port = c["address"].rsplit(":", 1)
uvicorn.run(app, host=host, port=int(port), log_level="warning")
