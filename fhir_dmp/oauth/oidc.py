"""We as the client of an OpenID provider: the authorization code flow. https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth.

PKCE (RFC 7636), ``state`` and ``nonce`` always; the provider's keys and endpoints by discovery
(https://openid.net/specs/openid-connect-discovery-1_0.html), all by https or on the loopback of this machine.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol, KeySet, RSAKey
from msgspec import Struct

from fhir_dmp.clock import SECOND, Clock
from fhir_dmp.errors import Unauthenticated, Unavailable
from fhir_dmp.oauth.engine import s256
from fhir_dmp.oauth.jwks import JwksError, require_secure_url
from fhir_dmp.oauth.providers import Provider
from fhir_dmp.outside import OutsideError, ask

MOST_BYTES = 256 * 1024
TIMEOUT_SECONDS = 5.0
METADATA_FRESH = 3600 * SECOND
KEYS_FRESH = 300 * SECOND
KEYS_AGAIN = 10 * SECOND
LEEWAY = 60
OLDEST = 600
"""How old, in seconds, an ID token may be that was made for us just now."""

ASSERTION_SECONDS = 60
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_UNREADABLE = (JoseError, ValueError, TypeError, AttributeError, KeyError, RecursionError)


class Asked(Struct, frozen=True):
    """What ties an answer to the question: kept by the browser, sealed, until the answer comes."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Asked:
        """Return a question that nobody can guess."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


class OpenIdClient:
    """Asks one provider who somebody is; keeps its metadata and keys for a while.

    Raises ``Unavailable`` if the provider cannot be reached, ``Unauthenticated`` if what it says does not hold.
    """

    def __init__(self, provider: Provider, redirect_uri: str, clock: Clock) -> None:
        self.provider = provider
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: Mapping[str, Any] = {}
        self._metadata_at = 0
        self._keys: KeySet | None = None
        self._keys_at = 0

    def authorization_url(self, asked: Asked) -> str:
        """Return where the browser asks the provider."""
        parameters = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.provider.scopes),
            "state": asked.state,
            "nonce": asked.nonce,
            "code_challenge": s256(asked.verifier),
            "code_challenge_method": "S256",
        }
        if self.provider.acr_values:
            parameters["acr_values"] = " ".join(self.provider.acr_values)
        endpoint = self._endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(parameters)}"

    def claims(self, answer: Mapping[str, str], asked: Asked) -> Mapping[str, Any]:
        """Return what the provider tells of whoever came back with this answer."""
        code = self._code(answer, asked)
        tokens = self._tokens(code, asked)
        told = self._id_token(tokens, asked)
        return {**told, **self._userinfo(tokens, str(told["sub"]))}

    def _code(self, answer: Mapping[str, str], asked: Asked) -> str:
        if not hmac.compare_digest(answer.get("state", "").encode(), asked.state.encode()):
            raise _doubt("the state is another")
        issuer = answer.get("iss")
        if issuer is None and self._known().get("authorization_response_iss_parameter_supported") is True:
            raise _doubt("the answer does not name its issuer")
        if issuer is not None and issuer != self.provider.issuer:
            raise _doubt("the answer is another issuer's")
        if "error" in answer:
            raise _doubt(f"the provider answers {answer['error'][:64]!r}")
        if not answer.get("code"):
            raise _doubt("there is no code")
        return answer["code"]

    def _tokens(self, code: str, asked: Asked) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": asked.verifier,
            "client_id": self.provider.client_id,
        }
        endpoint = self._endpoint("token_endpoint")
        headers: dict[str, str] = {}
        if self.provider.key is not None:
            form |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self._assertion(self.provider.key)}
        else:
            self._prove_by_secret(form, headers)
        _, body = self._call("POST", endpoint, headers=headers, data=form)
        return _object(body)

    def _prove_by_secret(self, form: dict[str, str], headers: dict[str, str]) -> None:
        """Prove ourselves in the header, as RFC 6749, 2.3.1 prefers, unless the provider takes the secret in the body alone."""
        secret = self.provider.secret or ""
        methods = self._known().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" in methods or "client_secret_post" not in methods:
            pair = f"{quote(form.pop('client_id'), safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_secret"] = secret

    def _assertion(self, key: ECKey | RSAKey) -> str:
        """Return a proof that we hold the key. https://www.rfc-editor.org/rfc/rfc7523#section-2.2."""
        now = self._clock.micros() // SECOND
        client = self.provider.client_id
        algorithm = "RS256" if isinstance(key, RSAKey) else _CURVES[key.curve_name]
        claims = {
            "iss": client,
            "sub": client,
            "aud": self._endpoint("token_endpoint"),
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        header = {"alg": algorithm, **({"kid": key.kid} if key.kid else {})}
        return jwt.encode(header, claims, key, algorithms=[algorithm])

    def _id_token(self, tokens: Mapping[str, Any], asked: Asked) -> Mapping[str, Any]:
        """Return the claims of the ID token. https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation."""
        claims = self._signed(tokens.get("id_token"))
        now = self._clock.micros() // SECOND
        try:
            holds = {
                "nonce": hmac.compare_digest(str(claims["nonce"]).encode(), asked.nonce.encode()),
                "exp": now < int(claims["exp"]) + LEEWAY,
                "iat": now - OLDEST <= int(claims["iat"]) <= now + LEEWAY,
                "sub": isinstance(claims["sub"], str) and 0 < len(claims["sub"]) <= 255,
                "acr": not self.provider.acr_values or claims.get("acr") in self.provider.acr_values,
            }
        except (KeyError, TypeError, ValueError):
            raise _doubt("the ID token is not whole") from None
        for name, held in holds.items():
            if not held:
                raise _doubt(f"the {name} of the ID token does not hold")
        return claims

    def _userinfo(self, tokens: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
        """Return what the provider tells beside the ID token, as JSON or signed; the same person's or nobody's."""
        endpoint = self._known().get("userinfo_endpoint")
        access = tokens.get("access_token")
        if endpoint is None or not isinstance(access, str):
            return {}
        headers = {"Authorization": f"Bearer {access}", "Accept": "application/json, application/jwt"}
        kind, body = self._call("GET", self._endpoint("userinfo_endpoint"), headers=headers)
        claims = self._signed(body.decode("ascii", "replace")) if kind == "application/jwt" else _object(body)
        if claims.get("sub") != subject:
            raise _doubt("the userinfo is somebody else's")
        protocol = ("iss", "aud", "exp", "iat", "nonce", "acr", "azp", "auth_time")
        return {name: value for name, value in claims.items() if name not in protocol}

    def _signed(self, raw: Any) -> Mapping[str, Any]:
        """Return the claims of a token that the provider signed for us."""
        if not isinstance(raw, str) or len(raw) > MOST_BYTES:
            raise _doubt("there is no token")
        try:
            claims: Mapping[str, Any] = jwt.decode(raw, self._key_of, algorithms=list(self.provider.algorithms)).claims
            audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
            party = claims.get("azp")
        except _UNREADABLE as fault:
            raise _doubt(f"a token does not hold ({type(fault).__name__})") from None
        us = self.provider.client_id
        if claims.get("iss") != self.provider.issuer:
            raise _doubt("a token is another issuer's")
        if us not in audience or (party is None and len(audience) > 1) or party not in (None, us):
            raise _doubt("a token was made for another client")
        return claims

    def _key_of(self, token: GuestProtocol) -> ECKey | RSAKey:
        """Return the provider's key that the token names, looking again for one that is new; or its only one."""
        kid = token.headers().get("kid")
        for age in (KEYS_FRESH, KEYS_AGAIN):
            keys = [key for key in self._published(age).keys if isinstance(key, ECKey | RSAKey)]
            named = [key for key in keys if kid is None or key.kid == kid]
            if len(named) == 1 or (named and kid is not None):
                return named[0]
        raise ValueError("no key of this kid")

    def _published(self, age: int) -> KeySet:
        with self._lock:
            now = self._clock.micros()
            if self._keys is None or now - self._keys_at >= age:
                _, body = self._call("GET", self._endpoint("jwks_uri"))
                try:
                    listed = [key for key in _object(body)["keys"] if key.get("use", "sig") == "sig"]
                    usable = [key for key in listed if key.get("kty") in ("RSA", "EC")]
                    self._keys, self._keys_at = KeySet.import_key_set({"keys": usable}), now
                except _UNREADABLE:
                    raise _silent("its keys cannot be read") from None
            return self._keys

    def _endpoint(self, name: str) -> str:
        url = self._known().get(name)
        try:
            require_secure_url(url if isinstance(url, str) else "")
        except JwksError:
            raise _silent(f"its {name} is no URL that is safe") from None
        return str(url)

    def _known(self) -> Mapping[str, Any]:
        """Return the provider's metadata, as it was discovered within the hour."""
        now = self._clock.micros()
        if not self._metadata or now - self._metadata_at >= METADATA_FRESH:
            url = f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            _, body = self._call("GET", url)
            found = _object(body)
            if found.get("issuer") != self.provider.issuer:
                raise _silent("its metadata is another issuer's")
            self._metadata, self._metadata_at = found, now
        return self._metadata

    def _call(self, method: str, url: str, **options: Any) -> tuple[str, bytes]:
        """Return media type and body of the answer: no redirect, bounded in bytes and in seconds."""
        try:
            answer = ask(method, url, most=MOST_BYTES, seconds=TIMEOUT_SECONDS, **options)
        except OutsideError as fault:
            raise _silent(str(fault)) from None
        if answer.status >= 500:
            raise _silent(f"it answers {answer.status}")
        if answer.status != 200:
            raise _doubt(f"it answers {answer.status} at {urlsplit(url).path[:64]}")
        return answer.headers.get("content-type", "").partition(";")[0].strip().lower(), answer.body


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _doubt("what it says is no JSON object")
    return document


def _doubt(why: str) -> Unauthenticated:
    return Unauthenticated("The provider did not confirm who this is.", reasons=(why,))


def _silent(why: str) -> Unavailable:
    return Unavailable("The identity provider does not answer.", reasons=(why,))
