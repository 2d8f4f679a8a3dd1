"""Key sets of clients: what they may hold, and how they are fetched."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from joserfc.jwk import ECKey

from fhir_dmp.clock import FixedClock
from fhir_dmp.oauth.jwks import FRESH_MICROS, FetchedKeys, JwksError, Served, fetch_jwks, parse_jwks, require_secure_url
from tests.oauth_world import NOON, jwks, key_pair, public

URL = "https://client.example/jwks"


def test_keys_are_found_by_kid_and_others_left_out():
    """A set may serve more purposes than ours."""
    others = [
        {**public(key_pair("EC", "enc")), "use": "enc"},
        ECKey.generate_key("P-256", {"kid": "p256"}).as_dict(private=False),
        {**public(key_pair("RSA", "key-2")), "kid": "r256", "alg": "RS256"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AA"},
    ]
    text = json.dumps({"keys": [public(key_pair()), *others]})

    assert {"key-1"} == set(parse_jwks(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nope", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ("[]", "list of keys"),
        ('{"keys": [1]}', "list of keys"),
        ('{"keys": []}', "no RSA key"),
        (json.dumps({"keys": [key_pair()]}), "private"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "s"}]}), "private"),
        (json.dumps({"keys": [public(key_pair())] * 2}), "two keys"),
        (json.dumps({"keys": [public(key_pair())] * 21}), "more than 20"),
        (json.dumps({"keys": [{**public(key_pair()), "kid": None}]}), "kid"),
        (json.dumps({"keys": [{**public(key_pair()), "x": "AAAA"}]}), "malformed"),
        (json.dumps({"keys": [{"kty": "EC", "crv": "P-384", "kid": "k"}]}), "malformed"),
        (" " * 70_000, "larger"),
    ],
)
def test_a_key_set_that_cannot_be_used_says_why(text, reason):
    """Each refusal names the rule."""
    with pytest.raises(JwksError, match=reason):
        parse_jwks(text)


def test_a_short_rsa_key_is_refused():
    """Fewer than 2048 bits are not enough."""
    short = {**public(key_pair("RSA", "key-2")), "n": "v" * 170 + "A"}

    with pytest.raises(JwksError, match="2048"):
        parse_jwks(json.dumps({"keys": [short]}))


@pytest.mark.parametrize(
    "url",
    ["https://client.example/jwks", "http://127.0.0.1:9/jwks", "http://localhost/jwks", "http://[::1]/j"],
)
def test_https_and_loopback_are_taken(url):
    """By http from the machine itself alone."""
    require_secure_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://client.example/jwks",
        "http://127.0.0.1.example/jwks",
        "http://10.0.0.1/jwks",
        "file:///etc/passwd",
        "ftp://127.0.0.1/jwks",
        "https://user:pass@client.example/jwks",
        "https:///jwks",
        "https://client.example/jwks#part",
        "https://client.example/ jwks",
        "https://[::1/jwks",
        "https://client.example:nope/",
        "https://client.example/" + "x" * 600,
    ],
)
def test_other_urls_are_refused(url):
    """Nothing else is ever fetched."""
    with pytest.raises(JwksError):
        require_secure_url(url)


class Source:
    """A fetch that counts, and answers what it is told to."""

    def __init__(self, *privates):
        self.privates, self.calls, self.fresh = list(privates), 0, FRESH_MICROS

    def __call__(self, url):
        self.calls += 1
        if not self.privates:
            raise JwksError("down")
        return Served(jwks(*self.privates).encode(), self.fresh)


def test_a_fetched_set_is_kept_for_five_minutes():
    """Two looks, one fetch; after five minutes another."""
    clock, source = FixedClock(NOON), Source(key_pair())
    fetched = FetchedKeys(clock, source)

    for _ in range(3):
        assert fetched.find(URL, "key-1") is not None
    assert source.calls == 1

    clock.set(NOON + timedelta(seconds=301))
    fetched.find(URL, "key-1")
    assert source.calls == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("max-age=60", 60),
        ("public, max-age=60, must-revalidate", 60),
        ("max-age=86400", 300),
        ("no-store", 0),
        ("no-cache", 0),
        ("max-age=soon", 300),
    ],
)
def test_a_key_set_is_kept_no_longer_than_its_server_says(served, header, seconds):
    """And no longer than five minutes, whatever it says."""
    answers, url = served
    answers["/jwks"] = (200, {"Cache-Control": header}, jwks(key_pair()).encode())

    assert fetch_jwks(f"{url}/jwks").fresh == seconds * 1_000_000


def test_a_set_that_may_be_kept_for_a_minute_is_fetched_again_after_it():
    """The client's own word decides."""
    clock, source = FixedClock(NOON), Source(key_pair())
    source.fresh = 60_000_000
    fetched = FetchedKeys(clock, source)
    fetched.find(URL, "key-1")
    clock.set(NOON + timedelta(seconds=59))
    fetched.find(URL, "key-1")
    assert source.calls == 1

    clock.set(NOON + timedelta(seconds=60))
    fetched.find(URL, "key-1")
    assert source.calls == 2


def test_a_new_key_is_found_and_a_removed_one_forgotten():
    """An unknown kid asks again, but not more often than every ten seconds."""
    clock, source = FixedClock(NOON), Source(key_pair())
    fetched = FetchedKeys(clock, source)
    fetched.find(URL, "key-1")
    source.privates = [key_pair("RSA", "key-2")]

    assert fetched.find(URL, "key-2") is None
    clock.set(NOON + timedelta(seconds=11))
    assert fetched.find(URL, "key-2") is not None
    assert fetched.find(URL, "key-1") is None
    assert source.calls == 2


def test_a_failing_url_is_not_hammered():
    """Its failure is an answer for ten seconds."""
    clock, source = FixedClock(NOON), Source()
    fetched = FetchedKeys(clock, source)

    for _ in range(3):
        with pytest.raises(JwksError, match="down"):
            fetched.find(URL, "key-1")
    assert source.calls == 1

    source.privates = [key_pair()]
    clock.set(NOON + timedelta(seconds=11))
    assert fetched.find(URL, "key-1") is not None


def test_the_number_of_urls_kept_is_bounded():
    """The oldest goes first."""
    source = Source(key_pair())
    fetched = FetchedKeys(FixedClock(NOON), source, most=2)
    for url in ("a", "b", "c", "b", "a"):
        fetched.find(url, "key-1")

    assert source.calls == 4


@pytest.fixture
def served():
    """A server on the loopback that answers what the test says."""
    answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answers, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_key_set_is_fetched_over_http_from_the_loopback(served):
    """The bytes as they are served."""
    answers, url = served
    answers["/jwks"] = (200, {}, jwks(key_pair()).encode())

    assert {"key-1"} == set(parse_jwks(fetch_jwks(f"{url}/jwks").body))


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (404, {}, b"", "404"),
        (302, {"Location": "/jwks"}, b"", "302"),
        (200, {}, b"x" * 70_000, "too much"),
    ],
)
def test_a_url_that_misbehaves_is_refused(served, status, headers, body, reason):
    """No redirect is followed, no flood is read."""
    answers, url = served
    answers["/bad"] = (status, headers, body)

    with pytest.raises(JwksError, match=reason):
        fetch_jwks(f"{url}/bad")


def test_a_url_that_nobody_serves_is_refused(served):
    """The connection fails, and says no more than that."""
    with pytest.raises(JwksError, match="cannot be fetched"):
        fetch_jwks("http://127.0.0.1:1/jwks")
