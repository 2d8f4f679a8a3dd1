"""``access explain``: why somebody may or may not, told to an operator, and that it was asked."""

from __future__ import annotations

import json
import re
import sys

import pytest
from click.testing import CliRunner

from fhir_dmp.audit.asked import unseal
from fhir_dmp.cli import main
from fhir_dmp.errors import Invalid, NotFound
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.explain import Asked, Explainer, Supposed, explain
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import RPPS, World, consent, document


def test_an_administrator_is_told_why(world, item):
    """The path in the order of decision, with the Consent and its version, and an event that it was asked."""
    made = world.holder().made(consent(world.patient, "permit", actors=["urn:s|2"], purposes=["TREAT"]))
    server, other = world.server, world.system("ehr-two", "ehr", "urn:s|2")
    context = server.operator_context("tester", "access explain")
    ref = Ref(*item.split("/"))

    opened = explain(Asked(other.subject, world.patient, ref), context, server.env)
    shut = explain(Asked(world.professional("1").subject, world.patient), context, server.env)

    assert opened[-1] == f"Permitted: Consent/{made['id']} v1, provision."
    assert any("permits urn:s|2 for TREAT" in line for line in opened)
    assert f"{world.patient}: policy version 1, from 1 source." in opened
    assert shut[-1] == "The record is shut: not authorised."


def test_a_content_is_explained_by_the_document_that_it_is_judged_by(world):
    """What the answer to a read would be, and not what the rules alone say of a Binary."""
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    content = world.ehr.made({"resourceType": "Binary", "contentType": "text/plain", "data": "Qm9uam91cg=="})["id"]
    tree = document(world.patient)
    tree["content"][0]["attachment"]["url"] = f"Binary/{content}"
    made, doctor = world.ehr.made(tree)["id"], world.professional("1")
    context = world.server.operator_context("tester", "access explain")

    told = explain(Asked(doctor.subject, world.patient, Ref("Binary", content)), context, world.server.env)

    assert doctor.read(f"Binary/{content}").status == 200
    assert told[-1].startswith(f"Permitted: DocumentReference/{made}: Consent/")


def test_a_path_that_leads_to_nothing_was_asked_for_all_the_same(world):
    """Whoever tries out by explanations what is there leaves an event of each, refused, in the record that was named."""
    server = world.server
    context = server.operator_context("tester", "access explain")
    with pytest.raises(NotFound):
        explain(Asked(world.ehr.subject, world.patient, Ref("Observation", "none")), context, server.env)

    parts, _ = server.store.search_events(EVERYTHING, 1, None)
    event = json.loads(parts[0].event.body)
    assert event["act"] == "$explain"
    assert event["outcome"] == "4"
    assert event["for"] == [world.patient]
    assert event["why"] == ["Observation/none is not there."]


@pytest.mark.parametrize(
    "words", [("--reason", "VIH, inconsciente"), ("--reason=VIH, inconsciente",)], ids=["after", "within"]
)
@pytest.mark.parametrize("who", ["x.y", "nobody"])
def test_a_reason_that_is_supposed_is_sealed(world, mongodb_uri, database_name, tmp_path, monkeypatch, words, who):
    """It describes a person: neither the command nor what it asked shows it, and lines of exports hold the row alone."""
    one = (Situation("10", None, "urn:s|1"),)
    new = NewAccount("professional", "X", "Practitioner/x", f"{RPPS}|7", "x.y", "cheval agrafe pile", situations=one)
    world.server.accounts.add(new, world.server.operator_context("tester", "account add"))
    environ = {"DMP_MONGODB_URI": mongodb_uri, "DMP_MONGODB_DATABASE": database_name, "DMP_DATA_DIR": str(tmp_path)}
    given = [
        "access",
        "explain",
        "--as",
        who,
        "--patient",
        world.patient,
        "--purpose",
        "BTG",
        *words,
        "--operator",
        "alice",
    ]
    monkeypatch.setattr(sys, "argv", ["fhir-dmp", *given])
    CliRunner().invoke(main, given, env=environ)
    parts, _ = world.server.store.search_events(EVERYTHING, 1, None)
    event = parts[0].event
    row = json.loads(event.body)
    shown = f"fhir-dmp {' '.join(given)}".replace("VIH, inconsciente", "…")

    assert row["act"] == "$explain"
    assert row["request"] == f"{shown}\nPatient/{world.patient.partition('/')[2]}/$explain?reason=…"
    assert b"VIH" not in event.body
    assert "reason=VIH" in unseal(event.secret, row["sealed"])["request"]


@pytest.mark.parametrize(
    ("asked", "fault", "text"),
    [
        ({"who": "nobody.known"}, NotFound, "There is no client and no account 'nobody.known'."),
        ({"resource": "no reference"}, Invalid, "'no reference' is no resource: write Type/id."),
        ({"supposed": Supposed(situation=3)}, Invalid, "They have 1 situation, counted from 1; not 3."),
    ],
    ids=["a caller", "a reference", "a situation"],
)
def test_a_question_that_cannot_be_put_was_asked_all_the_same(world, asked, fault, text):
    """Nobody tries out who is known here without an event of each attempt."""
    server = world.server
    new = NewAccount(
        *("professional", "X", "Practitioner/x", f"{RPPS}|7", "x.y", "cheval agrafe pile"),
        situations=(Situation("10"),),
    )
    server.accounts.add(new, server.operator_context("tester", "account add"))
    explainer = Explainer(server.grants, server.accounts.accounts, server.env)
    context = server.operator_context("tester", "access explain")

    with pytest.raises(fault, match=re.escape(text)):
        explainer.explain(**{"who": "x.y", "patient": world.patient, "context": context, **asked})

    parts, _ = server.store.search_events(EVERYTHING, 1, None)
    event = json.loads(parts[0].event.body)
    assert (event["act"], event["outcome"], event["for"], event["why"]) == ("$explain", "4", [world.patient], [text])


def test_what_is_supposed_of_a_token_is_told_as_the_token_would_be_judged(world, item):
    """Another situation of theirs, an emergency with its reason, a sign-in without a second factor."""
    server = world.server
    situations = (Situation("10", None, "urn:s|7"), Situation("28", None, "urn:s|2"))
    new = NewAccount(
        *("professional", "X", "Practitioner/x", f"{RPPS}|7", "x.y", "cheval agrafe pile"), situations=situations
    )
    server.accounts.add(new, server.operator_context("tester", "account add"))
    world.holder().made(consent(world.patient, "permit", actors=["urn:s|2"]))
    explainer = Explainer(server.grants, server.accounts.accounts, server.env)

    def told(**supposed):
        context = server.operator_context("tester", "access explain")
        return explainer.explain("x.y", world.patient, context, resource=item, supposed=Supposed(**supposed))

    assert told()[-1] == "Refused: no rule permits it."
    assert "matrix" in told(situation=2)[-1]
    assert "Judged in situation 2 of 2: profession 28, for urn:s|2." in told(situation=2)
    assert told(purpose="BTG", reason="inconsciente")[-1] == "Permitted: break-glass."
    assert told(purpose="ETREAT", reason="un appel")[-1] == "Permitted: centre 15."
    assert told(purpose="BTG", reason="inconsciente", strong=False)[-1].startswith(
        "Refused: not strongly authenticated"
    )


@pytest.mark.parametrize(("situations", "told"), [(1, False), (2, True)])
def test_a_path_says_in_which_of_several_situations_somebody_is_judged(world, situations, told):
    """The first, unless another is named: a token would be for the one that the person chose."""
    server = world.server
    known = (Situation("10", None, "urn:s|1", "Clinic"), Situation("60", None, "urn:s|2"))[:situations]
    new = NewAccount("professional", "X", "Practitioner/x", f"{RPPS}|7", "x.y", "cheval agrafe pile", situations=known)
    server.accounts.add(new, server.operator_context("tester", "account add"))
    explainer = Explainer(server.grants, server.accounts.accounts, server.env)

    lines = explainer.explain("x.y", world.patient, server.operator_context("tester", "access explain"))

    assert ("Judged in situation 1 of 2: Clinic." in lines) is told
    assert lines[0].endswith("profession 10, for urn:s|1, purpose TREAT.")


def test_the_command_tells_the_path_as_it_is_supposed(mongodb_uri, database_name, tmp_path):
    """In the situation, for the purpose and by the sign-in that are named; what cannot be put is one line and exit code 1."""
    world = World(mongodb_uri, database_name, tmp_path)
    server = world.server
    situations = (Situation("10", None, "urn:s|7"), Situation("60", None, "urn:s|2", "Ward"))
    new = NewAccount(
        *("professional", "X", "Practitioner/x", f"{RPPS}|7", "x.y", "cheval agrafe pile"), situations=situations
    )
    server.accounts.add(new, server.operator_context("tester", "account add"))
    server.close()
    environ = {"DMP_MONGODB_URI": mongodb_uri, "DMP_MONGODB_DATABASE": database_name, "DMP_DATA_DIR": str(tmp_path)}

    def run(*words):
        given = ("access", "explain", "--as", "x.y", "--patient", world.patient, "--operator", "alice", *words)
        result = CliRunner().invoke(main, given, env=environ)
        return result.exit_code, result.output

    emergency = ("--purpose", "BTG", "--reason", "inconsciente, seule")
    assert "The record is shut: not authorised." in run()[1]
    assert "Judged in situation 2 of 2: Ward." in run("--situation", "2")[1]
    assert "The record is open" in run(*emergency)[1]
    assert "The record is shut: not strongly authenticated: feeds alone." in run(*emergency, "--weak")[1]
    assert run("--situation", "3") == (1, "Error: They have 2 situations, counted from 1; not 3.\n")
    assert run("--as", "nobody")[0] == 1
