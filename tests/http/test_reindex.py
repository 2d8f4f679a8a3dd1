"""Search parameters that are added: unsupported, then indexed beside a running server, then answered. https://hl7.org/fhir/R4/searchparameter.html."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import structlog
from click.testing import CliRunner
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from fhir_dmp.call import Call
from fhir_dmp.cli import main
from fhir_dmp.search.added import POLL_SECONDS
from fhir_dmp.service.perform import perform
from tests.access_world import RunningClock, World, observation
from tests.conftest import server_settings
from tests.http.conftest import Caller, register

STRICT = {"Prefer": "handling=strict"}


def parameter(code, expression, base="Patient", kind="string", **more):
    return {
        "resourceType": "SearchParameter",
        "url": f"http://a.fr/SearchParameter/{code}",
        "name": code,
        "status": "active",
        "description": "A parameter of our own.",
        "code": code,
        "base": [base],
        "type": kind,
        "expression": expression,
        **more,
    }


MARITAL = parameter("marital", "Patient.maritalStatus", kind="token")


def patient(number, status="M"):
    return {"resourceType": "Patient", "id": f"p{number}", "maritalStatus": {"coding": [{"code": status}]}}


@pytest.fixture
def settings(mongodb_uri, database_name, tmp_path):
    """Settings under which a commit is given up soon, so that a run need not wait for it long."""
    return server_settings(mongodb_uri, database_name, tmp_path, commit_timeout_seconds=0.5)


@pytest.fixture
def server(settings):
    """The parts of one worker, whose clock goes on at once where a run waits."""
    clock = RunningClock(datetime.now(UTC))
    made = create_server(settings, clock=clock)
    yield replace(made, reindexer=replace(made.reindexer, wait=clock.forward))
    made.close()


@pytest.fixture
def ehr(settings, server):
    """An EHR at that worker, with ten patients stored."""
    caller = register(create_app(settings, server), "ehr-one")
    for number in range(10):
        assert caller.put(f"/Patient/p{number}", patient(number, "M" if number % 2 else "S")).status_code == 201
    return caller


def run(server, progress=lambda *_: None, **options):
    return server.reindexer.reindex(server.operator_context("tester", "reindex"), progress, **options)


def found(caller, question):
    answer = caller.get(f"/{question}", headers=STRICT)
    assert answer.status_code == 200, answer.data
    return {entry["resource"]["id"] for entry in answer.json.get("entry", ())}


def test_a_posted_parameter_is_unsupported_until_all_is_indexed_by_it(ehr, server, settings):
    """Not empty: unsupported. Then it finds what was there before, on every worker, and the statement prints it."""
    other = create_app(settings, create_server(settings))
    elsewhere = Caller(other, "ehr-one", ("system/*.cruds",))
    assert elsewhere.get("/Patient?marital=M", headers=STRICT).status_code == 400
    assert ehr.post("/SearchParameter", MARITAL).status_code == 201
    refused = ehr.get("/Patient?marital=M", headers=STRICT)
    assert (refused.status_code, refused.json["issue"][0]["code"]) == (400, "not-supported")

    report = run(server)

    assert (report.complete, report.rows, report.changed) == ([MARITAL["url"]], 10, 10)
    assert found(ehr, "Patient?marital=M") == {"p1", "p3", "p5", "p7", "p9"}
    assert found(ehr, "Patient?marital:missing=true") == set()
    statement = ehr.get("/metadata").json
    patients = next(each for each in statement["rest"][0]["resource"] if each["type"] == "Patient")
    assert {"name": "marital", "definition": MARITAL["url"], "type": "token"} in patients["searchParam"]
    elsewhere.app.extensions["fhir_dmp"].reindexer.wait(POLL_SECONDS)
    assert found(elsewhere, "Patient?marital=S&_sort=-marital") == {"p0", "p2", "p4", "p6", "p8"}
    other.extensions["fhir_dmp"].close()


def test_a_plan_that_was_indexed_before_a_parameter_came_is_made_anew(ehr, server, monkeypatch):
    """However long it took between index and commit: a run does not wait for it, and so it must not slip in behind."""
    env = server.reindexer.env
    ehr.post("/SearchParameter", MARITAL)
    slow = []

    def wait_for_the_run(resource_type, tree):
        index = env.extract(resource_type, tree)
        if not slow:
            slow.append(run(server))
        return index

    result = perform(
        Call("update", "Patient", "late", body=json.dumps({**patient(0, "L"), "id": "late"}).encode()),
        replace(
            server.operator_context("tester", "test"), subject=Subject("ehr-one", "ehr", ("system/*.cruds",), "urn:x|1")
        ),
        replace(env, extract=wait_for_the_run),
    )

    assert result.outcome == "created"
    assert found(ehr, "Patient?marital=L") == {"late"}


def test_rows_of_an_older_form_are_told_at_the_start(settings, ehr, server, capfd, monkeypatch):
    """The server names the command that mends it, until that has run."""
    monkeypatch.setattr("fhir_dmp.app.web._log", structlog.get_logger())  # one that keeps to no earlier level

    def said_at_start():
        create_app(replace(settings, log_level="warning")).extensions["fhir_dmp"].close()
        return "".join(capfd.readouterr())

    assert "reindex" not in said_at_start()
    server.reindexer.indexes.keep_form(1)
    assert "fhir-dmp reindex --all" in said_at_start()
    run(server, everything=True)
    assert "reindex" not in said_at_start()


def test_a_run_that_is_repeated_changes_nothing(ehr, server):
    """Neither rows nor versions nor times; and a run over everything does no harm either."""
    ehr.post("/SearchParameter", MARITAL)
    run(server)
    before = ehr.get("/Patient?_sort=_id").json["entry"]

    again, everything = run(server), run(server, everything=True)

    assert (again.rows, again.changed) == (0, 0)
    assert (everything.rows, everything.changed) == (11, 0)
    assert ehr.get("/Patient?_sort=_id").json["entry"] == before
    assert ehr.get("/Patient/p1/_history").json["total"] == 1


def test_a_run_that_was_cut_goes_on_where_it_was(ehr, server, monkeypatch):
    """It is unsupported meanwhile, and no row is indexed twice."""
    monkeypatch.setattr("fhir_dmp.service.reindex.BATCH", 3)
    ehr.post("/SearchParameter", MARITAL)

    def cut(done, _):
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(server, cut)
    assert ehr.get("/Patient?marital=M", headers=STRICT).status_code == 400
    seen = []
    report = run(server, lambda done, total: seen.append((done, total)))

    assert seen == [(6, 10), (9, 10), (10, 10)]
    assert (report.rows, report.changed) == (10, 4)
    assert len(found(ehr, "Patient?marital=M,S")) == 10


def test_people_write_while_a_run_goes_on(ehr, server, monkeypatch):
    """What is created, changed or deleted meanwhile is found as it is, and no version is lost."""
    monkeypatch.setattr("fhir_dmp.service.reindex.BATCH", 2)
    ehr.post("/SearchParameter", MARITAL)

    def write(done, _):
        assert ehr.put(f"/Patient/new{done}", {**patient(0, "W"), "id": f"new{done}"}).status_code == 201
        assert ehr.put("/Patient/p9", patient(9, "D" if done % 4 else "A")).status_code == 200
        assert ehr.delete("/Patient/p0").status_code == 204

    run(server, write)
    assert found(ehr, "Patient?marital=W") >= {"new0", "new2", "new4", "new6", "new8"}
    assert found(ehr, "Patient?marital=M") == {"p1", "p3", "p5", "p7"}
    assert found(ehr, "Patient?marital=A,D") == {"p9"}
    assert found(ehr, "Patient?marital=S") == {"p2", "p4", "p6", "p8"}
    assert ehr.get("/Patient/p9/_history").json["total"] >= 6


def test_a_row_that_changes_under_the_run_is_left_to_its_writer(ehr, server):
    """The index is written under the version that was read."""
    indexes = server.reindexer.indexes
    (old,) = indexes.rows("Patient", "Patient/p0", 1)
    ehr.put("/Patient/p1", patient(1, "new"))
    assert indexes.rewrite([(old, {**old.index, "t": ["Patient", "wrong"]})]) == 0
    (now,) = indexes.rows("Patient", "Patient/p0", 1)
    assert "wrong" not in now.index["t"]


def test_a_parameter_that_changes_or_goes_is_indexed_anew_or_dropped(ehr, server):
    """Until then the old one answers."""
    made = ehr.post("/SearchParameter", MARITAL).json
    run(server)
    changed = {**made, "expression": "Patient.maritalStatus.text", "type": "string"}
    assert ehr.put(f"/SearchParameter/{made['id']}", changed).status_code == 200
    assert found(ehr, "Patient?marital=M") == {"p1", "p3", "p5", "p7", "p9"}
    ehr.put("/Patient/p0", {**patient(0), "maritalStatus": {"text": "Pacsée"}})
    assert run(server).complete == [MARITAL["url"]]
    assert found(ehr, "Patient?marital=pac") == {"p0"}
    assert found(ehr, "Patient?marital=m") == set()
    assert ehr.put(f"/SearchParameter/{made['id']}", {**changed, "status": "retired"}).status_code == 200
    assert run(server).dropped == [MARITAL["url"]]
    assert ehr.get("/Patient?marital=pac", headers=STRICT).status_code == 400


REFUSED = {
    "gender": parameter("gender", "Patient.maritalStatus", kind="token"),
    "nothing": parameter("nothing", "Patient.nothing"),
    "function": parameter("function", "Patient.name.first()"),
    "long": parameter("long", "Patient.name | " * 100 + "Patient.name"),
    "b=d": parameter("b=d", "Patient.name"),
    "second": {**parameter("second", "Patient.birthDate", kind="date"), "code": "own"},
}


def test_what_cannot_be_indexed_is_refused_with_its_reason(ehr, server):
    """One of R4's, an expression that is not compiled, a code that stands for another: the rest goes on."""
    ehr.post("/SearchParameter", parameter("own", "Patient.name.given"))
    for each in REFUSED.values():
        assert ehr.post("/SearchParameter", each).status_code == 201, each
    report = run(server)
    assert report.complete == ["http://a.fr/SearchParameter/own"]
    assert set(report.refused) == {each["url"] for each in REFUSED.values()}
    assert all(report.refused.values())
    assert found(ehr, "Patient?gender:missing=true") == {f"p{number}" for number in range(10)}


def test_composites_and_references_may_be_added(ehr, server):
    """By the parameters that they are made of."""
    linked = parameter("link-other", "Patient.link.other", kind="reference", target=["Patient"])
    dated = parameter(
        "status-date",
        "Observation",
        base="Observation",
        kind="composite",
        component=[
            {"definition": "http://hl7.org/fhir/SearchParameter/clinical-code", "expression": "code"},
            {"definition": "http://hl7.org/fhir/SearchParameter/Observation-status", "expression": "status"},
        ],
    )
    other = {**patient(0), "link": [{"other": {"reference": "Patient/p1"}, "type": "seealso"}]}
    seen = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "a"}]}}
    for each in (linked, dated, seen):
        assert ehr.post(f"/{each['resourceType']}", each).status_code == 201
    ehr.put("/Patient/p0", other)
    assert len(run(server).complete) == 2
    assert found(ehr, "Patient?link-other=p1") == {"p0"}
    assert found(ehr, "Patient?_id=p0&_include=Patient:link-other") == {"p0", "p1"}
    assert len(found(ehr, "Observation?status-date=a$final")) == 1
    assert found(ehr, "Observation?status-date=a$amended") == set()


def test_the_run_is_the_act_of_a_named_operator(ehr, server, settings):
    """One event, with who it was and what became of it."""
    ehr.post("/SearchParameter", MARITAL)
    run(server)
    auditor = register(ehr.app, "auditor-one", role="auditor", scopes=("system/AuditEvent.rs",))
    (event,) = auditor.get("/AuditEvent?date=ge2000&subtype=reindex").json["entry"]
    assert event["resource"]["outcome"] == "0"
    assert "command-line" in json.dumps(event["resource"])


def test_the_command_says_what_it_did(ehr, settings, monkeypatch):
    """Beside the running server; and what is not supported, with the reason."""
    ehr.post("/SearchParameter", MARITAL)
    ehr.post("/SearchParameter", REFUSED["function"])
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["reindex", "--operator", "tester"])
    assert result.exit_code == 0, result.output
    assert f"{MARITAL['url']} answers now." in result.output
    assert "function is not supported: the function first() is not compiled" in result.output
    assert "10 of 10 rows changed." in result.output
    again = CliRunner().invoke(main, ["reindex", "--all"])
    assert "0 of 12 rows changed." in again.output


def test_an_index_of_an_older_form_is_made_anew(ehr, server):
    """--all writes what differs."""
    rows = server.store.database["current"]
    rows.update_many({"_id": {"$in": ["Patient/p1", "Patient/p2"]}}, {"$set": {"t": ["Patient"], "ds": 1, "w": ["x"]}})
    assert run(server, everything=True).changed == 2
    assert rows.find_one({"_id": "Patient/p1"}).keys() & {"ds", "w"} == set()


@pytest.mark.parametrize(
    ("tokens", "question", "form"),
    [
        ("^Observation.patient.code", "patient=p1&code=2339-0", 2),
        (r"^Observation.value-string\^", "value-string=mod", 5),
    ],
)
def test_rows_of_an_older_form_are_found_all_the_same(ehr, server, settings, tokens, question, form):
    """A server on a database that was filled before there were pairs, or beginnings, asks for none, until all rows have them."""
    code = {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]}
    result = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": code,
        "subject": {"reference": "Patient/p1"},
        "valueString": "Modéré",
    }
    assert ehr.put("/Observation/o", result).status_code == 201
    server.store.database["current"].update_one({"_id": "Observation/o"}, {"$pull": {"t": {"$regex": tokens}}})
    server.reindexer.indexes.keep_form(form)
    assert found(ehr, f"Observation?{question}") == set(), "these tokens are what it is found by"

    def found_by_another():
        other = create_app(settings, create_server(settings))
        try:
            return found(Caller(other, "ehr-one", ("system/*.cruds",)), f"Observation?{question}")
        finally:
            other.extensions["fhir_dmp"].close()

    assert found_by_another() == {"o"}
    assert run(server, everything=True).changed == 1
    assert found_by_another() == {"o"}
    assert found(ehr, f"Observation?{question}") == {"o"}


def test_what_the_writer_knew_beside_the_body_is_kept(mongodb_uri, database_name, tmp_path):
    """That a patient wrote it, whose record a Provenance is in, and of which category: rights are judged by it."""
    world = World(mongodb_uri, database_name, tmp_path, commit_timeout_seconds=0.5)
    own = world.holder().made(observation(world.patient))
    item = world.ehr.made(observation(world.patient))
    target = [{"reference": f"Observation/{item['id']}"}, {"reference": world.patient}]
    told = {"recorded": "2026-01-01T00:00:00Z", "agent": [{"who": {"display": "x"}}], "target": target}
    about = world.ehr.made({"resourceType": "Provenance", **told})
    linked = world.new_patient(link=[{"other": {"reference": world.patient}, "type": "seealso"}])
    rows = world.server.store.database["current"]
    rows.update_one({"_id": linked}, {"$set": {"pt": [linked, world.patient]}})

    changed = run(world.server, everything=True).changed
    found = {row["_id"]: row for row in rows.find({}, {"pt": 1, "ca": 1})}
    world.server.close()

    assert changed == 1
    assert found[linked]["pt"] == [linked]
    assert found[f"Observation/{own['id']}"]["ca"] == "90"
    assert found[f"Provenance/{about['id']}"]["ca"] == "10"


def test_rows_from_before_are_told_whom_they_name(ehr, auditor, server):
    """A Device is in nobody's record, and its row tells whose journal its events stand in: one that was written before rows told it, as well."""
    ehr.put("/Device/d", {"resourceType": "Device", "id": "d", "patient": {"reference": "Patient/p1"}})
    server.store.database["current"].update_one({"_id": "Device/d"}, {"$unset": {"about": 1}})

    def journal():
        found = auditor.get("/AuditEvent?date=ge2000&patient=Patient/p1&entity=Device/d&subtype=read").json
        return found["total"]

    ehr.get("/Device/d")
    assert journal() == 0
    assert run(server, everything=True).changed == 1
    ehr.get("/Device/d")
    assert journal() == 1
