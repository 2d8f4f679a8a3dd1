"""The front of a worker: plain calls as fibres on its event loop, all others in threads, all answered alike."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from greenlet import getcurrent
from pymongo.synchronous.pool import Connection

from fhir_dmp.errors import TooMany, Unavailable
from fhir_dmp.fibres import Fibre, own
from fhir_dmp.http import arriving, bodies
from fhir_dmp.http.arriving import READ_AHEAD
from fhir_dmp.http.environ import environ_of
from fhir_dmp.http.rsgi import Front
from fhir_dmp.store.port import Store
from fhir_dmp.stores.mongo.store import MongoStore
from tests.bundles import without_its_own

OBSERVATION = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
}


class Headers(list):
    """Headers as RSGI tells them."""

    def items(self):
        return [each for each in self if each[1].isascii()]

    def keys(self):
        return [name for name, _ in self]


def scope(method, url, headers=()):
    """What RSGI tells of a request."""
    path, _, query = url.partition("?")
    return SimpleNamespace(
        http_version="1.1",
        server="127.0.0.1:8000",
        client="192.0.2.7:40000",
        scheme="http",
        method=method,
        path=path,
        query_string=query,
        authority=None,
        headers=Headers(headers),
    )


@dataclass
class Proto:
    """One request's body as it comes, and what was answered."""

    pieces: list = field(default_factory=list)
    answers: list = field(default_factory=list)

    async def __call__(self):
        return b"".join([piece async for piece in self])

    async def __aiter__(self):
        for piece in self.pieces:
            if piece is None:
                await asyncio.sleep(30)
            yield piece

    def response_bytes(self, status, headers, body):
        self.answers.append((status, dict(headers), body))


def ask(front, *requests):
    """Send the requests at once, and return the answers."""

    async def together():
        protos = [Proto(list(pieces)) for _, pieces in requests]
        calls = [front.__rsgi__(asked, proto) for (asked, _), proto in zip(requests, protos, strict=True)]
        await asyncio.wait_for(asyncio.gather(*calls), 30)
        return protos

    answers = [proto.answers for proto in asyncio.run(together())]
    assert all(len(each) == 1 for each in answers)
    return [each[0] for each in answers]


@pytest.fixture
def front(app):
    """The front of the application."""
    return app.extensions["fhir_dmp.front"]


@contextmanager
def commands(monkeypatch):
    """Tell of each command to the database whether it was sent from a fibre."""
    sent = []
    send = Connection.command

    def counted(self, *args, **options):
        sent.append(isinstance(getcurrent(), Fibre))
        return send(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "command", counted)
        yield sent


def bearer(caller, **more):
    """Return the headers of a caller."""
    return [("authorization", f"Bearer {caller._token}"), *more.items()]


def with_body(caller, body, **more):
    """Return the headers and the pieces of a request with a body."""
    sent = json.dumps(body).encode()
    kind = {"content-type": "application/fhir+json", "content-length": str(len(sent)), **more}
    return bearer(caller, **kind), [sent[:100], sent[100:]]


def test_a_fibre_never_waits_for_the_database_itself(front, ehr, monkeypatch):
    """Reads, versions, searches with all that hangs on them, whole records, writes, conditions, transactions and batches."""
    made = ehr.post("/Patient", {"resourceType": "Patient", "name": [{"family": "Durand"}]}).get_json()
    ehr.put(f"/Patient/{made['id']}", {**made, "active": True})
    who = f"Patient/{made['id']}"
    seen = {**OBSERVATION, "subject": {"reference": who}}
    known = ehr.post("/Observation", seen).get_json()["id"]
    entries = [
        {"resource": seen, "request": {"method": "POST", "url": "Observation", "ifNoneExist": "code=718-8"}},
        {"request": {"method": "GET", "url": who}},
    ]
    parts = {"type": "Code", "path": "String", "value": "Boolean"}
    values = {"type": "replace", "path": "Patient.active", "value": False}
    operation = [{"name": name, f"value{kind}": values[name]} for name, kind in parts.items()]
    patch = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": operation}]}
    patched = {"request": {"method": "PATCH", "url": who}, "resource": patch}
    urls = [
        f"/fhir/{who}",
        f"/fhir/{who}/_history/1",
        "/fhir/Patient/nobody",
        "/fhir/Observation?patient.family=durand&_include=Observation:subject&_total=accurate",
        "/fhir/Patient?_has:Observation:subject:code=718-7&_revinclude=Observation:subject&_sort=family",
        "/fhir/Observation?_total=accurate&_count=1",
        f"/fhir/{who}/$everything",
        f"/fhir/Observation?_filter=code eq 718-7&patient={who}",
    ]
    writes = [
        ("POST", "/fhir/Observation", seen, {}),
        ("POST", "/fhir/Observation", seen, {"if-none-exist": "code=718-7"}),
        ("PUT", f"/fhir/Observation/{known}", {**seen, "id": known, "status": "amended"}, {"if-match": 'W/"1"'}),
        ("POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries}, {}),
        ("POST", "/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries}, {}),
        ("POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [patched]}, {}),
    ]
    reads = [(scope("GET", url, bearer(ehr)), ()) for url in urls]
    changes = []
    for method, url, body, more in writes:
        headers, pieces = with_body(ehr, body, **more)
        changes.append((scope(method, url, headers), pieces))
    ask(front, *reads[:1])
    ehr.app.extensions["fhir_dmp"].reindexer.added._until = float("-inf")

    fibres = []
    takes = front._takes
    monkeypatch.setattr(front, "_takes", lambda environ: fibres.append(takes(environ)) or fibres[-1])
    with commands(monkeypatch) as sent:
        answers = [*ask(front, *reads), *(ask(front, each)[0] for each in changes)]

    assert [status for status, _, _ in answers] == [200, 200, 404, *[200] * 5, 201, 412, 200, 200, 200, 200]
    assert all(fibres)
    assert len(fibres) == len(urls) + len(writes)
    assert sent
    assert not any(sent)


def test_both_ways_answer_alike(front, ehr):
    """By the framework's own test client and by the front, as fibre or in a thread."""
    ehr.put("/Patient/p", {"resourceType": "Patient", "id": "p", "name": [{"family": "Été"}]})
    for url in (
        "/Patient/p",
        "/Patient?family=%C3%A9t%C3%A9",
        "/metadata",
        "/Patient/p?_pretty=true",
        "/Patient/%C3%A9",
    ):
        straight = ehr.get(url)
        path = url.replace("%C3%A9", "é") if "?" not in url else url
        for _ in range(2):
            ((status, headers, body),) = ask(front, (scope("GET", f"/fhir{path}", bearer(ehr)), ()))
            assert (status, without_its_own(body)) == (straight.status_code, without_its_own(straight.data))
            own = {name: value for name, value in headers.items() if name not in ("X-Request-Id", "Content-Length")}
            assert own == {name: value for name, value in straight.headers.items() if name in own}


@pytest.mark.parametrize("told", [True, False])
def test_a_long_body_is_read_by_a_thread(front, ehr, told):
    """With its length told, or in pieces until its end; a short one that was read ahead comes to the same."""
    names = [{"text": "x" * 1000} for _ in range(READ_AHEAD // 900)]
    headers, pieces = with_body(ehr, {"resourceType": "Patient", "name": names})
    if not told:
        headers = [each for each in headers if each[0] != "content-length"] + [("transfer-encoding", "chunked")]

    ((status, _, body),) = ask(front, (scope("POST", "/fhir/Patient", headers), pieces))

    assert status == 201, body
    assert len(json.loads(body)["name"]) == len(names)


def test_a_body_that_is_cut_changes_nothing(front, ehr):
    """Shorter than its length says: by a fibre, and by a thread."""
    for length in (5000, READ_AHEAD * 2):
        headers, pieces = with_body(ehr, {"resourceType": "Patient", "id": "cut"}, **{"content-length": str(length)})
        ((status, _, _),) = ask(front, (scope("PUT", "/fhir/Patient/cut", headers), pieces))
        assert status == 400
    assert ehr.get("/Patient/cut").status_code == 404


@pytest.mark.parametrize("then", [[b"", b""], [None]], ids=["cut", "too slow"])
def test_a_body_whose_end_never_comes_is_not_taken_as_whole(front, ehr, monkeypatch, then):
    """In chunks, so that nothing but its end says that it is whole; however often it is read."""
    monkeypatch.setattr(arriving, "PATIENCE_SECONDS", 0.2)
    headers = bearer(ehr, **{"content-type": "application/fhir+json", "transfer-encoding": "chunked"})
    whole = json.dumps({"resourceType": "Patient", "id": "cut"}).encode()

    ((status, _, told),) = ask(front, (scope("PUT", "/fhir/Patient/cut", headers), [whole, *then]))

    assert status == 400
    assert b"cut" in told
    assert ehr.get("/Patient/cut").status_code == 404


def test_what_no_thread_can_take_is_told_to_come_again(monkeypatch):
    """Where too many wait for one, or none can be made."""
    counted = []
    front = Front(lambda *_: [], lambda _: False, 1, counted.append)
    for fault in (TooMany("busy"), RuntimeError("none")):
        monkeypatch.setattr(front._threads, "submit", Mock(side_effect=fault))
        ((status, headers, _),) = ask(front, (scope("GET", "/fhir/metadata"), ()))
        assert (status, headers["Retry-After"]) == (503, "1")
    assert [environ["REMOTE_ADDR"] for environ in counted] == ["192.0.2.7"] * 2


def test_who_comes_while_the_worker_ends_is_told_to_come_again_and_nothing_is_done():
    """What would be done could not be answered to its end: a client that repeats it must not find it done."""
    done, counted = [], []
    front = Front(lambda environ, _: done.append(environ) or [], lambda _: True, 1, counted.append)
    front.take_no_more()

    ((status, headers, _),) = ask(front, (scope("GET", "/fhir/metadata"), ()))

    assert (status, headers["Retry-After"]) == (503, "1")
    assert len(counted) == 1
    assert done == []


def test_who_sends_too_slowly_is_let_go_and_keeps_nobody(front, ehr, monkeypatch):
    """The body is waited for by nobody but its own request."""
    monkeypatch.setattr(arriving, "PATIENCE_SECONDS", 0.1)
    headers, pieces = with_body(ehr, {"resourceType": "Patient"})

    slow, quick = ask(
        front,
        (scope("POST", "/fhir/Patient", headers), [*pieces[:1], None]),
        (scope("GET", "/fhir/Patient/nobody", bearer(ehr)), ()),
    )

    assert slow[0] == 400
    assert b"shorter" in slow[2]
    assert quick[0] == 404


@pytest.mark.parametrize("breaks", [False, True])
def test_a_body_of_pieces_is_sent_whole_or_not_at_all(breaks):
    """It is closed either way; what breaks off is a fault, and not the beginning of an answer."""
    closed = []

    def pieces(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/fhir+ndjson")])
        try:
            yield b"one\n"
            if breaks:
                raise LookupError("Durand")
            yield b"two\n"
        finally:
            closed.append(True)

    ((status, _, body),) = ask(Front(pieces, lambda _: False, 1, Mock()), (scope("GET", "/pieces"), ()))

    assert (status, body) == ((500, b"The server met a fault.") if breaks else (200, b"one\ntwo\n"))
    assert closed == [True]


def test_a_stop_comes_between_the_end_of_a_wait_and_its_word():
    """The sender's time is over and nobody has been told yet: whoever else is waited for is let go all the same."""

    async def told():
        patience, late = arriving.Patience(), asyncio.Event()
        loop = asyncio.get_running_loop()

        async def wait(seconds):
            with pytest.raises(TimeoutError):
                async with patience.until(loop.time() + seconds):
                    await late.wait()

        others = asyncio.create_task(wait(60))
        over = asyncio.create_task(wait(0))
        await asyncio.sleep(0)
        loop.call_soon(patience.end)
        await asyncio.wait_for(asyncio.gather(over, others), 5)
        return True

    assert asyncio.run(told())


def test_what_is_on_the_way_when_the_server_stops_is_heard(monkeypatch):
    """Who was waited for, and who comes a moment later: what they sent whole is taken whole."""
    monkeypatch.setattr(arriving, "GRACE_SECONDS", 30.0)

    async def heard():
        patience, loop = arriving.Patience(), asyncio.get_running_loop()
        sent = loop.create_future()

        async def wait():
            async with patience.until(loop.time() + 60):
                return await sent

        early = asyncio.create_task(wait())
        await asyncio.sleep(0)
        patience.end()
        late = asyncio.create_task(wait())
        loop.call_later(0.05, sent.set_result, "whole")
        return await asyncio.gather(early, late)

    assert asyncio.run(heard()) == ["whole", "whole"]


def test_a_fault_of_the_application_says_nothing_outside():
    """What it did not answer itself is a bare 500."""

    def falls(environ, start_response):
        raise LookupError("Durand")

    front = Front(falls, lambda environ: environ["PATH_INFO"] == "/fibre", 1, Mock())

    answers = ask(front, (scope("GET", "/fibre"), ()), (scope("GET", "/thread"), ()))

    assert [status for status, _, _ in answers] == [500, 500]
    assert not any(b"Durand" in body for _, _, body in answers)


def test_a_header_that_cannot_be_read_is_refused_with_its_event(front, ehr, auditor, anonymous):
    """Whatever it would have asked: by name, to who is known; the condition of an update would not be heard, for one."""
    ehr.put("/Patient/p", {"resourceType": "Patient", "id": "p"})
    sent = bearer(ehr, **{"if-match": 'W/"é"'})

    known, unknown = ask(
        front, (scope("GET", "/fhir/Patient/p", sent), ()), (scope("GET", "/fhir/Patient/p", sent[1:]), ())
    )

    assert [status for status, _, _ in (known, unknown)] == [400, 401]
    assert "ASCII" in json.loads(known[2])["issue"][0]["diagnostics"]
    assert len(auditor.get("/AuditEvent?date=ge2000&agent=ehr-one&outcome=4").json["entry"]) == 1
    assert ask(front, (scope("GET", "/fhir/Patient/p", bearer(ehr, referer="é")), ()))[0][0] == 200


@pytest.mark.parametrize("path", ["token", "revoke", "introspect", "launch", "userinfo"])
def test_a_header_that_cannot_be_read_is_refused_by_each_endpoint_of_tokens_in_its_own_form(front, auditor, path):
    """By the code of the RFCs, and with the event of the act that was asked."""
    ((status, headers, body),) = ask(front, (scope("POST", f"/oauth/{path}", [("if-match", "é")]), ()))

    assert (status, headers["Content-Type"]) == (400, "application/json")
    assert json.loads(body) == {"error": "invalid_request", "error_description": "A header is not ASCII."}
    [event] = auditor.get("/AuditEvent?date=ge2000&outcome=8").json["entry"]
    assert "invalid_request" in event["resource"]["outcomeDesc"]


def test_a_form_that_nobody_has_time_to_read_is_refused_with_its_event(app, front, auditor, monkeypatch):
    """In the form of the endpoint, with the time to come again: too many bodies of strangers are on their way."""
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.05)
    turns = app.extensions["fhir_dmp.readers"]._strangers
    while turns.acquire(blocking=False):
        pass
    sent = [("content-type", "application/x-www-form-urlencoded"), ("transfer-encoding", "chunked")]

    ((status, headers, body),) = ask(front, (scope("POST", "/oauth/token", sent), [b"grant_type=x"]))

    assert (status, headers["Retry-After"]) == (429, "1")
    assert json.loads(body)["error"] == "temporarily_unavailable"
    assert len(auditor.get("/AuditEvent?date=ge2000&subtype=ITI-71&outcome=8").json["entry"]) == 1


@pytest.mark.parametrize(
    ("path", "form"),
    [("/oauth/sign-in", "text/html"), ("/oauth/authorize?client_id=x", "text/html"), ("/docs", "text/html")],
)
def test_a_header_that_cannot_be_read_is_refused_by_a_page_with_its_event(front, auditor, path, form):
    """The page of a sign-in that cannot go on, and not a bare line."""
    ((status, headers, body),) = ask(front, (scope("GET", path, [("accept-language", "é")]), ()))

    assert status == 400
    assert headers["Content-Type"].startswith(form)
    assert b"<h1" in body
    assert len(auditor.get("/AuditEvent?date=ge2000&subtype=get&outcome=4").json["entry"]) == 1


def test_the_environment_tells_what_was_sent():
    """Repeated headers are joined, text becomes Latin-1 as WSGI wants it, and no name poses as another."""
    sent = [("cookie", "a=1"), ("cookie", "b=2"), ("accept", "x"), ("accept", "y"), ("x_forwarded_for", "192.0.2.9")]
    environ = environ_of(scope("GET", "/fhir/Patient/é?x=1", [*sent, ("content-type", "t"), ("x-forwarded-for", "z")]))

    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_ACCEPT"] == "x,y"
    assert environ["HTTP_X_FORWARDED_FOR"] == "z"
    assert environ["CONTENT_TYPE"] == "t"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/fhir/Patient/é"
    assert environ["REMOTE_ADDR"] == "192.0.2.7"
    assert environ["QUERY_STRING"] == "x=1"


WAIT_TOGETHER = {"find_current", "find_many", "find_version", "find_policies", "policies_naming", "record", "commit"}
ASK_BY_LINES = {"search", "find_each", "concerned"}
ASK_NOTHING = {"horizon", "newest"}


def test_each_way_to_the_store_lets_other_fibres_go_on():
    """It waits with others for one query or commit, for an answer that the loop listens for, or another thread does: a new one has to say which."""
    ways = {name for name in vars(Store) if not name.startswith("_")}

    by_threads = {name for name in ways if hasattr(getattr(MongoStore, name), "__wrapped__")}

    assert ways == by_threads | WAIT_TOGETHER | ASK_BY_LINES | ASK_NOTHING


@pytest.mark.parametrize(("name", "expected"), [("if-match", 400), ("x-provenance", 400), ("user-agent", 404)])
def test_a_header_that_would_not_be_heard_is_refused(front, ehr, name, expected):
    """But for those that nobody reads."""
    ((status, _, _),) = ask(front, (scope("GET", "/fhir/Patient/nobody", [*bearer(ehr), (name, "é")]), ()))

    assert status == expected


def test_what_several_waited_for_fails_each_by_itself():
    """An error that one of them adds to is not the others'."""
    fault = Unavailable("away", reasons=("gone",))
    copied = own(fault)
    copied.issues = ()

    assert copied is not fault
    assert (str(copied), copied.reasons) == (str(fault), fault.reasons)
    assert fault.issues
