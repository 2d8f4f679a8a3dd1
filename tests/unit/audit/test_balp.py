"""AuditEvents meet the IHE profiles that they claim, and claim those that they should."""

from __future__ import annotations

import base64
import json
import re

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from msgspec.structs import replace

from fhir_dmp.audit import event as audit_event
from fhir_dmp.audit.event import describe
from fhir_dmp.audit.kinds import KINDS
from fhir_dmp.audit.parts import Part
from fhir_dmp.audit.words import narrative
from fhir_dmp.call import Act, Call, Result
from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import NotFound
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.validation.structure import build_validator
from tests.balp import PROFILES, claimed, from_definitions, problems
from tests.balp_facts import FACTS
from tests.published import SHARED, examples
from tests.unit.audit.world import (
    CALLERS,
    FAILURES,
    RECORDED,
    ROW,
    SUCCESSES,
    UNPROFILED,
    WITH_PROVENANCE,
    context,
    entity,
    events,
    row,
    salt,
    token,
    transaction,
)

BALP = SHARED / "ihe" / "balp"
needs_profiles = pytest.mark.skipif(not BALP.is_dir(), reason="needs the BALP profiles of ../shared/data/ihe/balp")


@pytest.fixture(scope="module")
def validate():
    """The server's own structure validator."""
    return build_validator(load())


def profiles(event):
    """Return the last parts of the profiles that an event claims."""
    return [url.removeprefix(PROFILES) for url in event.get("meta", {}).get("profile", ())]


def all_rows():
    """Yield every act by every caller."""
    for caller, subject in CALLERS.items():
        for name, act in (
            SUCCESSES | WITH_PROVENANCE | UNPROFILED | FAILURES | {"a transaction": transaction()}
        ).items():
            yield f"{name} by {caller}", row(act, subject)
    for act in (*KINDS, "flood", "something-new"):
        if act != "decision":
            yield f"act {act}", token(act)
            yield f"failed {act}", token(act, error="invalid_client")
    yield (
        "login",
        token("login", subject=None, account="a1", identifier="urn:x|1", method="password+totp"),
    )


@pytest.mark.parametrize("name", SUCCESSES)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_success_claims_its_profile_and_meets_it(name, caller):
    """Whoever acts: by the facts that are written down here, which say what the profiles say."""
    told = events(row(SUCCESSES[name], CALLERS[caller]))

    assert told
    for event in told:
        assert profiles(event), event["subtype"]
        assert claimed(event, FACTS) == []


@pytest.mark.parametrize("name", UNPROFILED)
def test_an_act_without_a_profile_claims_none(name):
    """It follows the pattern of the nearest one."""
    assert [profiles(event) for event in events(row(UNPROFILED[name]))] == [[]]


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_failure_follows_the_pattern_and_claims_nothing_but_the_decision(name, caller):
    """Its outcome is not 0, and IHE's profiles are for success; a Consent's decision has one of its own."""
    told = events(row(FAILURES[name], CALLERS[caller]))

    assert told
    for event in told:
        assert event["outcome"] in ("4", "8")
        assert profiles(event) in ([], ["IHE.BasicAudit.AuthZconsent"])
        assert claimed(event, FACTS) == []


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_operation_is_told_in_words_of_its_own(language):
    """Those on the log itself, too."""
    generic = narrative({"recorded": "2026-11-25T12:00:00Z"}, Part("$unheard-of", "0"), language, (), None)
    words = {
        code: narrative({"recorded": "2026-11-25T12:00:00Z"}, Part(f"${code}", "0"), language, (), None)["div"]
        for code in OPERATIONS
    }

    assert [code for code, told in words.items() if told == generic["div"]] == []
    assert len(set(words.values())) >= len(words) - 1


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        ("audit-verify", None, ("a vérifié les traces",)),
        ("audit-verify", "conflict", ("a vérifié les traces", "Les traces ne sont pas ce qui a été signé.")),
        ("audit-verify", "transient", ("La demande n'a pas abouti.",)),
        ("audit-retire-start", None, ("a commencé à retirer un mois des traces",)),
        ("audit-retire", "conflict", ("a demandé à retirer un mois des traces", "La demande n'a pas abouti.")),
        ("audit-rotate-key", "exception", ("La demande n'a pas abouti.",)),
        ("client-add", "conflict", ("L'accès a été refusé.",)),
    ],
)
def test_an_act_on_the_log_as_a_whole_says_what_came_of_it(act, error, words):
    """A removal that was begun is told apart from one that is done, and what failed was refused to nobody."""
    event = token(act, error)
    [told] = events(event)
    row = codec.loads_object(event.body)
    text = narrative(row, Part(act, row["outcome"]), "fr", (), None)["div"]

    assert all(each in text for each in words), text
    assert told["subtype"][0]["code"] == act
    assert told["outcome"] == ("8" if error else "0")


def test_a_refusal_by_consent_is_told_as_the_decision_too():
    """A professional of a structure, refused by a version of a Consent: client, user, structure and authorizer are named."""
    refusal, decision = events(row(FAILURES["refused by consent"], CALLERS["doctor"]))

    assert refusal["outcome"] == decision["outcome"] == "8"
    assert profiles(decision) == ["IHE.BasicAudit.AuthZconsent"]
    assert problems(decision, FACTS, "IHE.BasicAudit.AuthZconsent") == []
    consents = [each["what"]["reference"] for each in decision["entity"] if each["type"]["code"] == "Consent"]
    assert consents == ["Consent/42/_history/3"]


def test_each_entry_of_a_transaction_meets_its_own_profile():
    """The bundle is a job of one patient; the entries are creations, one of them of nobody's."""
    told = events(row(transaction()))

    assert [event["subtype"][0]["code"] for event in told] == ["transaction", "create", "create", "create"]
    assert [profiles(event)[:1] for event in told] == [
        [],
        ["IHE.BasicAudit.PatientCreate"],
        ["IHE.BasicAudit.PatientCreate"],
        ["IHE.BasicAudit.Create"],
    ]
    assert [claimed(event, FACTS) for event in told] == [[], [], [], []]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("create with its provenance", ["PatientCreate", "PatientCreate"]),
        ("patch of two records with its provenance", ["PatientUpdate", "PatientCreate"] * 2),
        ("delete of nobody's with its provenance", ["Delete", "Create"]),
        ("update of a provenance with one of its own", ["PatientUpdate", "PatientCreate"]),
    ],
)
def test_a_provenance_that_is_made_with_a_change_has_its_own_event(name, told):
    """IHE's profiles are for one resource each: who stands behind the change is created."""
    made = events(row(WITH_PROVENANCE[name]))

    assert [profiles(event)[0].removeprefix("IHE.BasicAudit.") for event in made] == told
    assert [claimed(event, FACTS) for event in made] == [[]] * len(told)
    assert [event["id"] for event in made] == [ROW, *(f"{ROW}-{number}" for number in range(2, len(told) + 1))]
    assert ["Provenance/v1" in json.dumps(event["entity"]) for event in made] == [False, True] * (len(told) // 2)


def test_a_provenance_of_a_transaction_has_its_own_event_too():
    """Beside those of the entries, of which none is it."""
    act = transaction()
    beside = entity("Provenance/v1", "Patient/p1")
    made = events(row(replace(act, result=replace(act.result, entities=(*act.result.entities, beside)))))

    assert [event["subtype"][0]["code"] for event in made] == ["transaction", *["create"] * 4]
    assert made[-1]["entity"][1]["what"]["reference"] == "Provenance/v1/_history/1"
    assert claimed(made[-1], FACTS) == []


@pytest.mark.parametrize("caller", CALLERS)
def test_an_issued_token_meets_the_profile_of_its_transaction(caller):
    """IUA's Get Access Token allows two or three agents and one entity, whoever the token is for."""
    [event] = events(token(subject=CALLERS[caller]))

    assert profiles(event) == ["IHE.IUA.71"]
    assert claimed(event, FACTS) == []


def test_an_authorization_for_an_emergency_breaks_the_glass_and_its_end_makes_it_whole():
    """Start and end are alerts of DICOM's own kinds, in the record that was opened; the reason lies beside the row."""
    start, end = (token(act, subject=CALLERS["glass breaker"]) for act in ("authorize", "revoke"))
    [started], [ended] = events(start), events(end)

    assert [each["code"] for each in started["subtype"]] == ["break-glass-start", "110127"]
    assert [each["code"] for each in ended["subtype"]] == ["break-glass-end", "110138"]
    assert started["entity"][0]["what"]["reference"] == "Patient/p1"
    assert start.index["pt"] == ["Patient/p1"]
    assert "motif: patient inconscient" in started["outcomeDesc"]
    assert b"inconscient" not in start.body
    assert b"inconscient" in start.secret
    [usual] = events(token("authorize", subject=CALLERS["doctor"]))
    assert usual["subtype"][0]["code"] == "authorize"


@pytest.mark.parametrize(
    ("act", "patients"),
    [
        (Act(Call("search-type", "Condition", params=(("patient", "p1"),)), Result("ok")), ["Patient/p1"]),
        (
            Act(Call("search-type", "Condition", params=(("subject", "Patient/p1,Patient/p2"),)), Result("ok")),
            ["Patient/p1", "Patient/p2"],
        ),
        (Act(Call("search-type", "Condition", compartment=Ref("Patient", "p1")), Result("ok")), ["Patient/p1"]),
        (Act(Call("read", "Patient", "p1"), error=NotFound("no")), ["Patient/p1"]),
        (Act(Call("read", "Patient", "no id!"), error=NotFound("no")), []),
        (Act(Call("read", "Condition", "c1"), error=NotFound("no", patients=("Patient/p3",))), ["Patient/p3"]),
        (Act(Call("search-type", "Condition", params=(("code", "x"),)), Result("ok")), []),
    ],
)
def test_an_act_that_touched_nothing_stands_in_the_record_that_it_was_about(act, patients):
    """Who was named, or whose item was refused; a stranger's claim puts a line into nobody's record."""
    assert row(act).index["pt"] == patients
    assert describe(act, context(None), ROW, RECORDED, salt).index["pt"] == []


def test_a_row_is_small():
    """A read by a professional with all that is known of them takes less than 1 kB with all that it is found by."""
    event = row(SUCCESSES["read"], CALLERS["doctor"])
    tokens = sum(len(token) + 10 for name in ("t", "u", "pt") for token in event.index[name])

    assert len(event.body) < 700
    assert len(event.body) + tokens < 950


def test_a_row_is_canonical_and_says_its_format():
    """Compact JSON, its keys in the order of the format, without what is empty: the same act gives the same bytes."""
    first, second = (row(SUCCESSES["search"], CALLERS["doctor"], "GET /fhir/Condition?code=E11").body for _ in range(2))

    assert first == second
    assert first.startswith(b'{"v":3,"id":"')
    assert b": " not in first
    assert list(codec.loads_object(first)) == [
        *("v", "id", "recorded", "act", "on", "outcome", "agent", "person", "from", "request", "sealed", "purpose"),
        *("requestId", "touched"),
    ]


def test_every_row_has_its_members_in_the_order_of_the_format():
    """As the table of the format has them, whatever the act; and none that the table does not name."""
    order = re.findall(r"^``(\w+)``", audit_event.__doc__, re.MULTILINE)
    assert len(order) > 20
    for name, event in all_rows():
        members = list(codec.loads_object(event.body))
        assert (name, members) == (name, [member for member in order if member in members])


def test_a_reason_stands_once_in_a_row():
    """Each item that a rule withheld says the same, and so does the refusal that came of it."""
    refused = Act(Call("read", "Condition", "c1"), error=NotFound("absent", reasons=("masked", "no consent", "masked")))

    assert codec.loads_object(row(refused).body)["why"] == ["masked", "no consent"]


def test_what_is_sealed_is_what_the_row_names():
    """A secret that was changed is not told."""
    event = row(SUCCESSES["search"], url="GET /fhir/Condition?code=E11")
    changed = replace(event, secret=event.secret.replace(b"E11", b"E10"))
    told, untold = (json.dumps(events(each)) for each in (event, changed))

    assert "E11" in base64.b64decode(events(event)[0]["entity"][1]["query"]).decode()
    assert "REDACTED" not in told
    assert "REDACTED" in untold


def test_a_token_in_use_is_told_by_the_profile_for_it():
    """Client id, user and the id of the token, beside the profile of what was done."""
    [event] = events(row(SUCCESSES["read"], CALLERS["doctor"]))

    assert profiles(event)[1] == "IHE.BasicAudit.OAUTHaccessTokenUse.Comprehensive"
    user = next(agent for agent in event["agent"] if agent["requestor"])
    assert user["policy"] == ["urn:ietf:params:oauth:jti:jti-1"]


def test_every_event_is_valid_by_the_rules_of_the_standard(validate):
    """By our own tables, and by the models of fhir.resources."""
    for name, event in all_rows():
        for told in events(event):
            tree = codec.loads_object(codec.dumps(told))
            assert [issue for issue in validate("AuditEvent", tree) if issue.severity == "error"] == [], name
            AuditEvent.model_validate_json(json.dumps(told))


@pytest.mark.parametrize(
    ("profile", "spoil"),
    [
        ("PatientRead", lambda event: event["entity"].pop(0)),
        ("PatientRead", lambda event: event["agent"].pop(0)),
        ("PatientRead", lambda event: event.update(outcome="8")),
        ("PatientRead", lambda event: event["agent"][0].pop("network")),
        ("PatientRead", lambda event: event["entity"].append(dict(event["entity"][1]))),
        ("PatientRead", lambda event: event["entity"][1].pop("what")),
        ("PatientRead", lambda event: event["subtype"][0].update(code="search")),
        ("PatientRead", lambda event: event["entity"][1]["role"].update(code="24")),
    ],
)
def test_the_checker_sees_what_is_wrong(profile, spoil):
    """Each fault that it is there for makes it speak."""
    [event] = events(row(SUCCESSES["read"]))
    event = json.loads(json.dumps(event))
    spoil(event)

    assert problems(event, FACTS, f"IHE.BasicAudit.{profile}") != []


@needs_profiles
def test_what_is_written_down_here_is_what_the_profiles_say():
    """The facts by hand and those of the definitions are the same, element by element."""
    told = from_definitions(BALP)

    assert {name: told[name] for name in FACTS} == FACTS


@pytest.mark.parametrize("path", examples("ihe/balp", "AuditEvent-*.json"), ids=lambda path: path.stem)
def test_the_checker_agrees_with_the_examples_of_ihe(path):
    """Each example meets the profiles that it claims."""
    facts = from_definitions(BALP)
    event = json.loads(path.read_text())

    assert profiles(event)
    assert claimed(event, facts) == []


@needs_profiles
def test_our_events_meet_the_definitions_of_ihe():
    """The same as by hand, by the profiles as IHE publishes them."""
    facts = from_definitions(BALP)

    assert [
        (name, found) for name, each in all_rows() for event in events(each) if (found := claimed(event, facts))
    ] == []
