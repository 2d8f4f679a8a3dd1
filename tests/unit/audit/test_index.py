"""What rows are found by: the same for ever for the same row, since what was sealed is checked against it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.audit.entry import entry_of, misfiled, read_entry
from fhir_dmp.audit.index import index_of
from fhir_dmp.audit.parts import Part, parts_of
from fhir_dmp.fhir import codec
from fhir_dmp.store.chain import Row
from tests.unit.audit.world import (
    CALLERS,
    FAILURES,
    HIDING,
    SUCCESSES,
    UNPROFILED,
    WITH_PROVENANCE,
    row,
    token,
    transaction,
)

ACTS = {**SUCCESSES, **UNPROFILED, **FAILURES, "a transaction": transaction()}


def entry(event):
    """Return the entry of the row, taken apart, as a verifier has it."""
    stored = Row(event.id, event.recorded, "1r", "e", 1, b"", b"", event.body, event.index, "audit_2026_11")
    return read_entry(entry_of(stored))


def test_the_index_of_this_format_of_rows_is_what_it_ever_was():
    """Whoever changes it gives rows a new format, or all that was sealed before seems misfiled."""
    assert row(SUCCESSES["read"], CALLERS["doctor"]).index == {
        "t": [
            "g=urn:oid:1.2.250.1.71.4.2.1|899700218896",
            "g=Practitioner/doc",
            "g=899700218896",
            "g=ehr-one",
            "g=urn:oid:1.2.250.1.71.4.2.2|1750000001",
            "e=Condition/c1",
        ],
        "u": ["r=ehr", "r=10", "n=192.0.2.7", "p=TREAT", "j=jti-1", "a=R", "o=0", "y=rest", "s=read"],
        "pt": ["Patient/p1"],
    }
    made = {"u": ["a=C", "o=0", "y=rest", "s=create"], "pt": ["Patient/p1"]}
    assert row(transaction()).index == {
        "t": [
            *("g=ehr-one", "g=urn:oid:1.2.250.1.71.4.2.2|1750000001", "s=transaction"),
            *("e=Patient/p1", "e=Condition/c1", "e=Organization/o"),
        ],
        "u": ["r=ehr", "n=192.0.2.7", "p=TREAT", "j=jti-1", "a=E", "o=0", "y=rest", "a=C", "s=create"],
        "pt": ["Patient/p1"],
        "m": 4,
        "c": ["g=ehr-one", "g=urn:oid:1.2.250.1.71.4.2.2|1750000001"],
        "cu": ["r=ehr", "n=192.0.2.7", "p=TREAT", "j=jti-1"],
        "x": [
            {"t": ["s=transaction"], "u": ["a=E", "o=0", "y=rest"], "pt": ["Patient/p1"]},
            {"t": ["e=Patient/p1"], **made},
            {"t": ["e=Condition/c1"], **made},
            {"t": ["e=Organization/o"], **made, "pt": []},
        ],
    }


def test_the_index_of_a_row_that_hides_something_is_what_it_ever_was():
    """What is hidden comes last, and has the label that others of its row have not."""
    label = "https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument|"
    event = row(HIDING["a transaction of one record"])
    assert codec.loads_object(event.body)["hides"] == ["Condition/c1/2"]
    assert "sec" not in event.index
    assert event.index["x"] == [
        {"t": ["s=transaction"], "u": ["a=E", "o=0", "y=rest"], "pt": ["Patient/p1"]},
        {"t": ["e=Condition/c3"], "u": ["a=C", "o=0", "y=rest", "s=create"], "pt": ["Patient/p1"]},
        {
            "t": ["s=delete", "e=Condition/c1"],
            "u": ["a=D", "o=0", "y=rest"],
            "pt": ["Patient/p1"],
            "sec": [f"{label}INVISIBLE_REPRESENTANTS_LEGAUX"],
        },
    ]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", [*ACTS, *WITH_PROVENANCE, *HIDING])
def test_a_row_of_any_act_is_found_by_what_its_bytes_say(name, caller):
    """Made anew from the bytes alone, without the act that the row was made of; no token stands twice."""
    event = row({**ACTS, **WITH_PROVENANCE, **HIDING}[name], CALLERS[caller])

    assert misfiled(entry(event)) == ()
    assert index_of(codec.loads_object(event.body)) == event.index
    assert len(set(event.index["t"] + event.index["u"])) == len(event.index["t"]) + len(event.index["u"])


@pytest.mark.parametrize("act", ["token", "login", "authorize"])
def test_a_row_of_a_sign_in_is_found_by_what_its_bytes_say(act):
    """By account and client."""
    assert misfiled(entry(token(act, account="a", identifier="s|v", method="password"))) == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "other"}, ("id",)),
        ({"recorded": 1}, ("rec",)),
        ({"index": {}}, ("pt", "t", "u")),
        ({"body": b"[]"}, ("row",)),
        ({"body": b"{}"}, ("row",)),
        ({"body": b'{"act":"read","touched":7}'}, ("row",)),
        ({"body": b'{"act":{},"recorded":"","id":""}'}, ("row",)),
    ],
)
def test_what_a_row_is_wrongly_found_by_is_named(change, named):
    """Also for rows that nobody here would write: none stops the verifier."""
    event = replace(row(SUCCESSES["read"]), **change)

    assert misfiled(entry(event)) == named


def of_format_1(body):
    """Return the row as servers wrote it whose rows held a list of whole names for each patient, and 0 for each entry."""
    told = codec.loads_object(body)
    whole = {
        patient: [f"{kind}/{name}" for kind, names in found.items() for name in names]
        for patient, found in told.get("touched", {}).items()
    }
    entries = [{"outcome": "0", **each} for each in told.get("entries", ())]
    return {**told, "v": 1, **({"touched": whole} if whole else {}), **({"entries": entries} if entries else {})}


def without_token(index):
    """Return what a row was found by when rows were not found by their token."""
    return {
        name: [each for each in value if not each.startswith("j=")] if name in ("u", "cu") else value
        for name, value in index.items()
    }


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_row_of_format_1_says_what_it_ever_said(act):
    """What was sealed once is found, counted and shown as before."""
    now = row(act)
    before = of_format_1(now.body)

    assert parts_of(before) == parts_of(codec.loads_object(now.body))
    assert index_of(before) == without_token(now.index)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", ACTS)
def test_a_row_of_format_2_is_found_as_it_ever_was(name, caller):
    """By all that one of now is found by but its token: it was sealed so."""
    now = row(ACTS[name], CALLERS[caller])
    before = {**codec.loads_object(now.body), "v": 2}
    stored = replace(now, body=codec.dumps(before), index=without_token(now.index))

    assert misfiled(entry(stored)) == ()
    assert ("u" in misfiled(entry(replace(stored, index=now.index)))) == ("jti" in before["agent"])


OPENING = {
    kind: Subject("app-one", "app", ("patient/*.rs",), person=Person(kind, "a", "", resource, patient="Patient/p1"))
    for kind, resource in (("holder", "Patient/p1"), ("representative", "RelatedPerson/r"), ("professional", ""))
}


@pytest.mark.parametrize("kind", OPENING)
@pytest.mark.parametrize("made_of", [1, 2, 3])
def test_a_token_stands_in_the_journal_of_the_record_that_it_opens_from_format_3_on(kind, made_of):
    """Whoever got it; in rows of before in that of a holder who got it, and in nobody's."""
    event = token(subject=OPENING[kind])
    told = made_of == 3 or kind == "holder"

    assert index_of({**codec.loads_object(event.body), "v": made_of})["pt"] == (["Patient/p1"] if told else [])
    assert misfiled(entry(event)) == ()


@pytest.mark.parametrize("made_of", [2, 3])
def test_a_change_with_its_provenance_is_two_events_from_format_3_on(made_of):
    """In rows of before it is one, which names both."""
    now = codec.loads_object(row(WITH_PROVENANCE["create with its provenance"]).body)
    parts = parts_of({**now, "v": made_of})
    index = index_of({**now, "v": made_of})

    if made_of == 2:
        assert parts == [Part("create", "0", "Patient/p1", ("Condition/c1/2", "Provenance/v1/1"))]
        assert (index["t"][-2:], "m" in index, "x" in index) == (["e=Condition/c1", "e=Provenance/v1"], False, False)
    else:
        assert parts == [Part("create", "0", "Patient/p1", (name,)) for name in ("Condition/c1/2", "Provenance/v1/1")]
        assert [each["t"] for each in index["x"]] == [["e=Condition/c1"], ["e=Provenance/v1"]]
        assert (index["m"], index["pt"]) == (2, ["Patient/p1"])


def test_a_reported_row_that_tells_no_base_is_found_as_it_was():
    """Rows that were sealed before are not told to be misfiled: what they name at other servers stands for ours in them."""
    tree = {
        "resourceType": "AuditEvent",
        "recorded": "2024-02-03T10:00:00Z",
        "entity": [{"what": {"reference": "https://other.example/fhir/Patient/p1"}}],
    }
    row = {"v": 2, "act": "submitted", "agent": {"client": "ehr-one"}, "resource": tree}

    assert index_of(row)["pt"] == ["Patient/p1"]
    assert index_of({**row, "base": "https://here.example/fhir"})["pt"] == []
