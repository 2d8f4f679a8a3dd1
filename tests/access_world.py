"""People and systems at the one door, on a real database: what they ask and what they are answered."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct, field

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.app.server import create_server
from fhir_dmp.call import Call, Context
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir.labels import SYSTEM
from fhir_dmp.store.query import EVERYTHING
from tests.conftest import server_settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
RECIPIENT = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]}
INS = "urn:oid:1.2.250.1.213.1.4.10"
RPPS = "urn:oid:1.2.250.1.71.4.2.1"
_STATUS = {"ok": 200, "created": 201, "no-content": 204, "not-modified": 304, "accepted": 202}


class Answer(Struct, frozen=True):
    """What came back: status, body, and of an error its text, its headers and its issues."""

    status: int
    body: dict = field(default_factory=dict)
    text: str = ""
    headers: tuple = ()
    issues: tuple = ()

    @property
    def ids(self):
        """The ids of a bundle's entries."""
        return {entry["resource"]["id"] for entry in self.body.get("entry", ()) if "id" in entry.get("resource", {})}


class RunningClock:
    """A clock that runs on from where it is set."""

    def __init__(self, start):
        self.set(start)

    def set(self, instant):
        """Move to the instant."""
        self._start, self._since = instant, time.monotonic()

    def forward(self, seconds):
        """Move on by so much."""
        self.set(self.now() + timedelta(seconds=seconds))

    def now(self):
        return self._start + timedelta(seconds=time.monotonic() - self._since)

    def micros(self):
        return int(self.now().timestamp() * 1_000_000)


class Actor:
    """A caller of the door with a subject of its own."""

    def __init__(self, world, subject):
        self.world = world
        self.subject = subject

    def ask(self, call):
        """Pass the door, with the policy that the token's own query would have brought."""
        server = self.world.server
        person = self.subject.person
        policy = (
            server.store.find_policies((person.patient,)).get(person.patient) if person and person.patient else None
        )
        context = Context(
            self.subject,
            self.world.clock.now(),
            "request-1",
            server.base_url,
            address="192.0.2.7",
            url=f"GET /fhir/{call.type}{'?' if call.params else ''}{urlencode(call.params)}",
            purpose=self.subject.purpose,
            policy=policy,
        )
        try:
            result = server.perform(call, context)
        except FhirError as error:
            return Answer(error.status, {}, str(error), error.headers, error.issues)
        return Answer(_STATUS[result.outcome], json.loads(result.body) if result.body else {})

    def read(self, ref):
        resource_type, resource_id = ref.split("/")
        return self.ask(Call("read", resource_type, resource_id))

    def vread(self, ref, version):
        resource_type, resource_id = ref.split("/")
        return self.ask(Call("vread", resource_type, resource_id, str(version)))

    def history(self, ref, query=""):
        resource_type, _, resource_id = ref.partition("/")
        name = "history-instance" if resource_id else "history-type"
        return self.ask(Call(name, resource_type, resource_id or None, params=tuple(parse_qsl(query))))

    def search(self, resource_type, query=""):
        return self.ask(Call("search-type", resource_type, params=tuple(parse_qsl(query, keep_blank_values=True))))

    def create(self, tree, criteria=None):
        return self.ask(Call("create", tree["resourceType"], body=json.dumps(tree).encode(), criteria=criteria))

    def update(self, tree, **given):
        return self.ask(Call("update", tree["resourceType"], tree["id"], body=json.dumps(tree).encode(), **given))

    def delete(self, ref, **given):
        resource_type, resource_id = ref.split("/")
        return self.ask(Call("delete", resource_type, resource_id, **given))

    def transaction(self, *entries, kind="transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
        return self.ask(Call("bundle", body=json.dumps(bundle).encode()))

    def made(self, tree):
        """Create the resource and return it."""
        answer = self.create(tree)
        assert answer.status == 201, answer
        return answer.body


class World:
    """A server on a database of its own, a clock that moves when told, and the people of one record."""

    def __init__(self, uri, name, folder, clock=None, **settings):
        self.clock = clock or RunningClock(NOON)
        settings = server_settings(uri, name, folder, **settings)
        self.server = create_server(settings, clock=self.clock)
        self.insurance = self.system("insurance", "insurance-feed")
        self.ehr = self.system("ehr-one", "ehr", "urn:s|1")
        self.patient = self.new_patient()

    def new_patient(self, **more):
        """Return the reference of a new record."""
        made = self.insurance.made({"resourceType": "Patient", "active": True, **more})
        return f"Patient/{made['id']}"

    def system(self, client, role, organization=None, scopes=("system/*.cruds",)):
        """Return a system that acts by itself."""
        return Actor(self, Subject(client, role, scopes, organization))

    def holder(self, patient=None):
        """Return the holder of the record."""
        patient = patient or self.patient
        return self._person(Person("holder", f"account-{patient}", "", patient, patient=patient, purpose="PATRQT"))

    def representative(self, related, patient=None):
        """Return who acts for the holder: ``RelatedPerson/r``."""
        person = Person(
            "representative", f"account-{related}", "", related, patient=patient or self.patient, purpose="FAMRQT"
        )
        return self._person(person)

    def professional(self, number="1", profession="10", structure="urn:s|9", patient=None, role="app", **more):
        """Return a professional whose token names the record."""
        person = Person(
            "professional",
            f"account-{number}",
            f"{RPPS}|{number}",
            f"Practitioner/p{number}",
            profession=profession,
            patient=self.patient if patient is None else patient or None,
            **more,
        )
        return self._person(person, structure, role)

    def _person(self, person, structure=None, role="app"):
        return Actor(
            self, Subject("app-one", role, ("user/*.cruds",), structure, f"jti-{person.account}", person=person)
        )

    def reasons(self):
        """Return why the last acts were permitted or refused, newest first, as the log has it."""
        parts, _ = self.server.store.search_events(EVERYTHING, 20, None)
        return [json.loads(part.event.body).get("why", []) for part in parts]


def observation(patient, **more):
    """Return an Observation about the patient."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": patient},
        **more,
    }


def document(patient, *flags, **more):
    """Return a DocumentReference with visibility labels."""
    tree = {
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": {"reference": patient},
        "content": [{"attachment": {"contentType": "text/plain", "url": "http://x.test/1"}}],
        **more,
    }
    if flags:
        tree["meta"] = {"security": [{"system": SYSTEM, "code": flag} for flag in flags]}
    return tree


def consent(patient, kind, *, actors=(), purposes=(), status="active", **more):
    """Return a Consent; ``actors`` are references or ``system|value``, ``purposes`` codes of v3-ActReason."""
    provision = {"type": kind, **more}
    if actors:
        provision["actor"] = [{"role": RECIPIENT, "reference": reference(each)} for each in actors]
    if purposes:
        provision["purpose"] = [{"system": ACT_REASON, "code": code} for code in purposes]
    return {
        "resourceType": "Consent",
        "status": status,
        "scope": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": patient},
        "dateTime": "2026-11-23T10:00:00+01:00",
        "performer": [{"reference": patient}],
        "sourceAttachment": {"title": "A choice of the patient"},
        "policy": [{"uri": "https://example.org/policy"}],
        "provision": provision,
    }


def reference(text):
    """Return a reference, by literal or by identifier."""
    system, bar, value = text.partition("|")
    return {"identifier": {"system": system, "value": value}} if bar else {"reference": text}


def changed(tree, **more):
    """Return the resource with other values, as its next version is sent."""
    return {**{key: value for key, value in tree.items() if key != "meta"}, **more}
