"""What of a request a log shows in the open."""

from __future__ import annotations

import pytest

from fhir_dmp.audit.asked import LENGTH, SEALED, asked, cleaned
from fhir_dmp.audit.credentials import NAMES
from fhir_dmp.call import Call
from tests.unit.audit.world import context


@pytest.mark.parametrize(
    "query",
    [
        "subject:Patient.name=Petit",
        "patient:Patient.identifier=urn:x|Petit",
        "encounter:Encounter.reason-code=Petit",
        "subject:identifier=urn:x|Petit",
        "patient.name=Petit",
        "code=Petit",
    ],
)
def test_what_leads_on_from_an_id_is_cut_out(query):
    """A chain asks for names and diseases by the parameter of a reference, and a number of a person is not an id of this server."""
    name = query.partition("=")[0]

    assert cleaned(f"GET /fhir/Observation?{query}") == f"GET /fhir/Observation?{name}=…"


@pytest.mark.parametrize(
    "query", ["subject=Patient/1", "subject:Patient=1", "date=ge2026", "_include=Observation:subject", "_id=1"]
)
def test_ids_moments_and_the_look_of_an_answer_are_shown(query):
    """They tell nothing of a disease, and who checks the log needs them."""
    assert cleaned(f"GET /fhir/Observation?{query}") == f"GET /fhir/Observation?{query}"


def test_what_is_sent_poses_as_no_line_of_its_own():
    """A bundle's entry may have any text as its criteria; what is told of them stays on one line, in the open and sealed."""
    call = Call("create", "Observation", criteria="_id=x\nIf-None-Exist: _id=y")
    shown, sent = asked(call, context(url="POST /fhir"), None)

    assert shown == "POST /fhir\nIf-None-Exist: ?_id=x%0AIf-None-Exist:%20_id%3Dy"
    assert sent == "POST /fhir\nIf-None-Exist: _id=x%0AIf-None-Exist: _id=y"


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("written", [str, str.upper, "{}:exact".format, lambda name: f"%{ord(name[0]):02x}{name[1:]}"])
def test_of_a_credential_the_name_alone_is_kept(name, written):
    """In the open and sealed, however its name is written, in a search of the log too, whose parameters are shown as they are."""
    url = f"GET /fhir/AuditEvent?date=2026&{written(name)}=S3+cr%3DET?x&_count=1"
    shown, sent = asked(Call("search-type", "AuditEvent"), context(url=url), None)

    assert sent == f"GET /fhir/AuditEvent?date=2026&{written(name)}=…&_count=1"
    assert "S3" not in shown
    assert shown.endswith("=…&_count=1")


@pytest.mark.parametrize(
    "query", ["code=hiv", "_text=token=1", "_token=1", "_content=a%3Fpassword%3D1", "identifier=urn:x%7C1&x=1"]
)
def test_what_is_no_credential_is_sealed_as_it_was_sent(query):
    """FHIR's ``code`` is not OAuth's."""
    url = f"GET /fhir/Observation?{query}"

    assert asked(Call("search-type", "Observation"), context(url=url), None)[1] == url


def test_of_more_than_this_server_takes_the_digest_is_sealed():
    """Another front may let it through: what was asked can still be proven by who has it."""
    url = f"GET /fhir/Observation?code={'x' * SEALED}"
    shown, sent = asked(Call("search-type", "Observation"), context(url=url), None)
    other = asked(Call("search-type", "Observation"), context(url=f"{url}y"), None)[1]

    assert shown == "GET /fhir/Observation?code=…"
    assert len(sent) < SEALED + 100
    assert sent[:SEALED] == other[:SEALED]
    assert sent != other


@pytest.mark.parametrize("path", ["a" * 1_000_000, "a" * 1_000_000 + "/%25", "%25" * 300_000, "a/" * 500_000 + "%25"])
def test_a_path_is_looked_at_once_however_long_it_is(path):
    """Without that it would never be done: each place in it was a beginning."""
    assert len(cleaned(f"GET /fhir/{path}")) <= LENGTH


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/fhir/Observation/x%3Fcode=hiv", "/fhir/Observation/…"),
        ("/fhir/a%20b/c", "/fhir/…/c"),
        ("/fhir/%2F/%0A", "/fhir/…/…"),
        ("/fhir/Observation/x", "/fhir/Observation/x"),
    ],
)
def test_a_part_of_a_path_that_is_percent_encoded_is_cut_whole(path, shown):
    """No id, type or operation has one: whatever it is, it may be a value."""
    assert cleaned(f"GET {path}") == f"GET {shown}"
