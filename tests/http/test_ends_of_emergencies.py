"""An access in an emergency has one event of its end for that of its beginning: whoever ends it, or nobody, and whatever breaks off meanwhile."""

from __future__ import annotations

import json
import threading
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import structlog

from fhir_dmp.app.server import create_server
from fhir_dmp.audit.render import render
from fhir_dmp.call import Context
from fhir_dmp.errors import Unavailable, Unrecorded
from fhir_dmp.service.answers import Choice
from fhir_dmp.service.authorize import Go
from fhir_dmp.service.bearer import Bearers
from fhir_dmp.service.clients import NewClient
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.service.tokens import TokenRequest
from fhir_dmp.store.accounts import Account, Session
from fhir_dmp.store.query import EVERYTHING
from fhir_dmp.stores.mongo.accounts import MongoAccounts
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX
from fhir_dmp.stores.mongo.families import MongoFamilies
from fhir_dmp.stores.mongo.grants import MongoGrants
from fhir_dmp.stores.mongo.store import MongoStore
from tests.access_world import INS, NOON, RPPS, World
from tests.at_once import at_once
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.conftest import server_settings
from tests.log_rows import rows_of
from tests.oauth_world import APP_SCOPES, CALLBACK, FORM, VERIFIER, authorize
from tests.sign_in_world import HOSPITAL

NUMBER = "279035121518989"
REASON = "Patient inconscient, allergies inconnues."
DOCTOR = "Practitioner/p7"


class Emergency:
    """A doctor who breaks the glass of a record by an app, and gives the token back or does not; time moves when told."""

    def __init__(self, world, app):
        self.world, self.server, self.app = world, world.server, app
        self.patient = world.new_patient(identifier=[{"system": INS, "value": NUMBER}])
        now = world.clock.micros()
        account = Account(
            id="a-7",
            kind="professional",
            name="Dr Anne Martin",
            resource=DOCTOR,
            identifier=f"{RPPS}|87",
            added=now,
            holds_from=now,
            situations=(HOSPITAL,),
        )
        ends = now + 3_600_000_000
        session = Session("s-7", "a-7", "signed-in", "password+totp", now, now, ends, strong=True, situation=HOSPITAL)
        kept = MongoAccounts(self.server.store.database)
        kept.add_account(account)
        kept.add_session(session)
        self.signed = SignedIn(account, session)

    def context(self):
        """Return that of a caller nobody knows, now."""
        return Context(None, self.world.clock.now(), "request-1", self.server.base_url, address="192.0.2.7")

    def code(self):
        """Break the glass, and return the code that the app gets for it."""
        asked = authorize(scope="launch/patient patient/Patient.rs", purpose_of_use="BTG")
        question = self.server.authorizations.ask(asked, self.signed, self.context())
        scopes = (*(scope.text for scope in question.scopes), *question.others)
        choice = Choice(allow=True, scopes=scopes, patient=self.patient, ins=NUMBER, emergency=True, reason=REASON)
        answer = self.server.authorizations.decide(question.ticket, choice, self.signed, self.context())
        assert isinstance(answer, Go), answer
        return dict(parse_qsl(urlsplit(answer.url).query))["code"]

    def token(self):
        """Break the glass, and return the token."""
        fields = {"grant_type": "authorization_code", "code": self.code(), "redirect_uri": CALLBACK}
        return self.send("issue_token", **fields, code_verifier=VERIFIER).document["access_token"]

    def send(self, to, **fields):
        """Send a form to an endpoint of OAuth as the app."""
        body = urlencode({"client_id": "phone", **fields}).encode()
        return getattr(self.server.tokens, to)(TokenRequest("POST", FORM, body), self.context())

    def after(self, seconds, server=None):
        """Let the server look, so many seconds after noon."""
        self.world.clock.set(NOON + timedelta(seconds=seconds))
        (server or self.server).emergencies.tell()

    @property
    def events(self):
        """The rows of beginnings and ends, oldest first, as events of the port."""
        parts, _ = self.server.store.search_events(EVERYTHING, 1000, None, oldest_first=True)
        return [part.event for part in parts if b'"act":"break-glass' in part.event.body]

    @property
    def told(self):
        """How many beginnings and ends the log has."""
        return Counter(json.loads(event.body)["act"] for event in self.events)

    @property
    def ends(self):
        """How many ends, of either kind."""
        return self.told["break-glass-end"] + self.told["break-glass-expiry"]


@pytest.fixture
def glass(mongodb_uri, database_name, tmp_path):
    """A record, a doctor, an app, and a clock that is moved by hand."""
    world = World(mongodb_uri, database_name, tmp_path)
    new = NewClient("phone", "public", "app", APP_SCOPES, redirect_uris=(CALLBACK,), name="Carnet")
    app = world.server.clients.add(new, world.server.operator_context("tester", "test"))
    yield Emergency(world, app)
    world.server.close()


@pytest.fixture
def other(glass, mongodb_uri, database_name, tmp_path):
    """Another worker on the same database."""
    server = create_server(server_settings(mongodb_uri, database_name, tmp_path), clock=glass.world.clock)
    yield server
    server.close()


def test_an_access_that_merely_ran_out_is_told_once(glass):
    """Not while its token holds, and soon after, however often one looks; a second access has an end of its own."""
    token = glass.token()
    glass.after(590)
    assert glass.ends == 0

    for seconds in (630, 640, 5000):
        glass.after(seconds)
    assert glass.told == {"break-glass-start": 1, "break-glass-expiry": 1}
    with pytest.raises(Exception, match="expired"):
        glass.server.tokens.verify_bearer(token)

    glass.token()
    glass.after(7000)
    assert glass.told == {"break-glass-start": 2, "break-glass-expiry": 2}
    assert glass.server.store.marks("emergency/began/") == ()


def test_the_end_is_found_as_its_beginning_is(glass):
    """By patient, agent, purpose and what it is; it says who and why, meets R4 as DICOM's own kind, and quotes no reason."""
    glass.token()
    glass.after(700)

    auditor = glass.world.system("auditor-one", "auditor", scopes=("system/AuditEvent.rs",))
    for query in (f"patient={glass.patient}", f"agent={DOCTOR}", "purpose=BTG", "outcome=0"):
        found = auditor.search("AuditEvent", f"date=ge2026&subtype=110138&{query}").body["entry"]
        assert [entry["resource"]["subtype"][0]["code"] for entry in found] == ["break-glass-end"], query
    [entry] = auditor.search("AuditEvent", "date=ge2026&subtype=break-glass-end").body["entry"]
    event = entry["resource"]
    assert [agent["who"].get("reference") for agent in event["agent"] if agent["requestor"]] == [DOCTOR]
    assert event["entity"][0]["what"] == {"reference": glass.patient}
    assert claimed(event, FACTS) == []
    assert "inconscient" not in json.dumps(event)


def test_the_holder_reads_in_words_that_it_is_over(glass):
    """In French, with who it was and by which kind of access."""
    glass.token()
    glass.after(700)

    found = glass.world.holder(glass.patient).search("AuditEvent", "subtype=break-glass-end").body["entry"]

    [text] = [entry["resource"]["text"]["div"] for entry in found]
    assert "Dr Anne Martin (médecin)" in text
    assert "n'a plus l'accès ouvert en bris de glace, en urgence, par bris de glace." in text


def test_a_token_that_is_given_back_ends_it_and_nothing_else_does_after(glass):
    """The end is that of the revocation; given back once more it is no second one, nor is it one that its time is over."""
    token = glass.token()
    for _ in range(2):
        assert glass.send("revoke_token", token=token).status == 200
    glass.after(700)

    assert glass.told == {"break-glass-start": 1, "break-glass-end": 1}
    assert glass.server.store.marks("emergency/began/") == ()


def test_two_who_give_it_back_at_once_end_it_once(glass, other, monkeypatch):
    """Each has seen that the token holds; one of the two events is that of a revocation and no more."""
    token = glass.token()
    both = threading.Barrier(2)
    standing = Bearers.standing

    def meet(self, raw):
        seen = standing(self, raw)
        both.wait(10)
        return seen

    monkeypatch.setattr(Bearers, "standing", meet)
    body = urlencode({"client_id": "phone", "token": token}).encode()
    request, context = TokenRequest("POST", FORM, body), glass.context()
    at_once(lambda server: server.tokens.revoke_token(request, context), (glass.server, other))

    parts, _ = glass.server.store.search_events(EVERYTHING, 1000, None)
    acts = Counter(json.loads(part.event.body)["act"] for part in parts)
    assert (acts["break-glass-end"], acts["revoke"]) == (1, 1)


def test_a_code_that_nobody_redeemed_is_over_after_its_minute(glass):
    """The glass was broken when the person said so; nothing can come of it any more."""
    glass.code()
    glass.after(50)
    assert glass.ends == 0
    glass.after(80)

    assert glass.told == {"break-glass-start": 1, "break-glass-expiry": 1}


@pytest.mark.parametrize(("kept", "step"), [(MongoGrants, "find_standing"), (MongoFamilies, "redeem_code")])
def test_a_worker_that_paused_with_a_code_gives_no_access_whose_end_was_told(glass, other, monkeypatch, kept, step):
    """Before it looks at the time, or after that and before the code is used: another worker tells the end, and the code is worth nothing."""
    code, whole = glass.code(), getattr(kept, step)

    def paused(self, *given):
        monkeypatch.setattr(kept, step, whole)
        glass.after(80, other)
        return whole(self, *given)

    monkeypatch.setattr(kept, step, paused)
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    answer = glass.send("issue_token", **fields)
    glass.after(5000)

    assert (answer.status, answer.document["error"]) == (400, "invalid_grant")
    assert glass.told == {"break-glass-start": 1, "break-glass-expiry": 1}


@pytest.mark.parametrize("how", ["disabled", "client-removed", "code-again"])
def test_an_access_that_holds_no_more_is_over_before_its_time(glass, how):
    """With the account or the app gone, or the code presented twice: told at the next look."""
    operator = glass.server.operator_context("tester", "test")
    code = glass.code()
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    glass.send("issue_token", **fields)
    glass.after(10)
    assert glass.ends == 0

    {
        "disabled": lambda: glass.server.accounts.disable("a-7", operator),
        "client-removed": lambda: glass.server.clients.remove("phone", operator),
        "code-again": lambda: glass.send("issue_token", **fields),
    }[how]()
    glass.after(20)
    glass.after(700)

    assert glass.told == {"break-glass-start": 1, "break-glass-expiry": 1}


def test_who_takes_an_emergency_back_ends_it_themselves(glass):
    """On their own page: told at once, once, as the end by whoever began it; to take it back once more is no end."""
    fields = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    glass.send("issue_token", code=glass.code(), **fields)
    [family] = glass.server.allowances.granted(glass.signed)
    for _ in range(2):
        glass.server.allowances.withdraw(family.id, glass.signed, glass.context())
    glass.after(700)

    assert glass.told == {"break-glass-start": 1, "break-glass-end": 1}
    rows = [json.loads(row.body) for row in rows_of(glass.server.store.log)]
    purposes = [
        (row["act"], row["person"]["id"], row["purpose"]) for row in rows if row["act"] in ("break-glass-end", "revoke")
    ]
    assert sorted(purposes) == [
        ("break-glass-end", glass.signed.account.identifier, "BTG"),
        ("revoke", glass.signed.account.identifier, "TREAT"),
    ]


def test_workers_that_look_at_once_tell_it_once(glass, other):
    """Each commits with the same mark, which one transaction alone can make."""
    for _ in range(5):
        glass.code()
    glass.world.clock.set(NOON + timedelta(seconds=700))
    at_once(lambda server: server.emergencies.tell(), [glass.server, other] * 3)

    assert glass.told == {"break-glass-start": 5, "break-glass-expiry": 5}


@pytest.mark.parametrize("broken", ["commit", "forget_mark"])
def test_who_ends_in_the_midst_loses_and_doubles_nothing(glass, other, monkeypatch, broken):
    """Before the event is durable, or after it and before the beginning is forgotten: another worker goes on."""
    glass.token()

    def die(self, *_):
        raise Unavailable("killed")

    with monkeypatch.context() as cut:
        cut.setattr(MongoStore, broken, die)
        with pytest.raises(Unavailable):
            glass.after(700)
    glass.after(710, other)
    glass.after(720)

    assert glass.told == {"break-glass-start": 1, "break-glass-expiry": 1}


def test_an_access_whose_traces_are_gone_by_then_is_told_all_the_same(glass):
    """The authorization is forgotten an hour after its end; whoever was down longer tells it by what the log says."""
    glass.token()
    glass.server.store.database["grants"].delete_many({"_id": {"$regex": "^family/"}})
    glass.after(9000)

    assert glass.told == {"break-glass-start": 1, "break-glass-expiry": 1}


def test_a_beginning_whose_row_was_damaged_holds_up_no_other_end(glass):
    """Who it was cannot be told any more; it stays to be told, should the row be mended."""
    glass.token()
    [start] = glass.events
    store = glass.server.store
    log = store.database.client[f"{store.database.name}{LOG_SUFFIX}"][f"audit_{NOON:%Y_%m}"]
    whole = log.find_one({"_id": start.id})["b"]
    glass.token()
    log.update_one({"_id": start.id}, {"$set": {"b": b"{"}})
    glass.after(700)
    glass.after(710)
    assert len(store.marks("emergency/began/")) == 1
    log.update_one({"_id": start.id}, {"$set": {"b": whole}})
    assert glass.told == {"break-glass-start": 2, "break-glass-expiry": 1}
    glass.after(720)

    assert glass.told == {"break-glass-start": 2, "break-glass-expiry": 2}
    assert store.marks("emergency/began/") == ()


def test_a_beginning_whose_row_was_damaged_is_told_once_by_each_worker(glass, other, monkeypatch):
    """For as long as it stays as it is, however often they look; and once more when it is damaged in another way."""
    told = structlog.testing.CapturingLogger()
    monkeypatch.setattr("fhir_dmp.service.emergency_ends._log", told)
    glass.token()
    [start] = glass.events
    store = glass.server.store
    log = store.database.client[f"{store.database.name}{LOG_SUFFIX}"][f"audit_{NOON:%Y_%m}"]
    for body in (b"{", b"{", b"[]"):
        log.update_one({"_id": start.id}, {"$set": {"b": body}})
        for server in (glass.server, other):
            glass.after(700, server)
            glass.after(710, server)

    assert [call.args for call in told.calls] == [("emergency-damaged",)] * 4
    assert {call.kwargs["event_id"] for call in told.calls} == {start.id}


def test_a_beginning_that_could_not_be_told_has_no_end(glass, monkeypatch):
    """The app got no code; the refusal is told, and nothing follows."""

    def away(self, commit):
        raise Unrecorded("The log cannot be written.")

    with monkeypatch.context() as mute:
        mute.setattr(MongoStore, "commit", away)
        with pytest.raises(KeyError):
            glass.code()
    glass.after(700)

    assert glass.told == {}


def test_an_ordinary_authorization_has_no_end_to_be_told(glass):
    """Nothing is remembered of it beside the authorization itself."""
    asked = authorize(scope="launch/patient patient/Patient.rs")
    question = glass.server.authorizations.ask(asked, glass.signed, glass.context())
    choice = Choice(allow=True, scopes=("launch/patient", "patient/Patient.rs"), patient=glass.patient, ins=NUMBER)
    glass.server.authorizations.decide(question.ticket, choice, glass.signed, glass.context())
    assert glass.server.store.marks("emergency/") == ()
    glass.after(700)

    assert glass.told == {}


def test_the_end_is_told_the_same_by_whoever_renders_it(glass):
    """The row needs nothing beside it: without an address it is told from nowhere known."""
    glass.token()
    glass.after(700)

    event = render(glass.events[-1], 1, glass.server.base_url)

    assert event["agent"][0]["network"]["address"] == "unknown"
    assert SimpleNamespace(**event).action == "E"
