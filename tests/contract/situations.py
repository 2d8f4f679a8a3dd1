"""Situations that rules are judged in: a caller, records with what was said of them, and rows, drawn from few names so that they meet.

Consents are resources that the server's own compiler read; rows are what its extractor makes of resources, with the stamps of a write. All
of it comes of one ``random.Random``: a seeded one, or Hypothesis' own, which shrinks what it drew.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.access import people, systems
from fhir_dmp.access.actors import Registry, named_by
from fhir_dmp.access.consents import compile_consent, is_privacy
from fhir_dmp.access.datatypes import period_of
from fhir_dmp.access.effect import require_effect
from fhir_dmp.access.kinds import NAMING
from fhir_dmp.access.model import Person, Subject
from fhir_dmp.access.numbers import NATIONAL, RPPS
from fhir_dmp.access.policy import Entry, Member, Policy, decode, encode
from fhir_dmp.access.rules import finds, rules_for
from fhir_dmp.access.systems import REVIEW, TASKS
from fhir_dmp.clock import DAY, micros_of
from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.labels import SYSTEM
from fhir_dmp.search.restrict import build_restrict
from fhir_dmp.service.directory import authored
from fhir_dmp.settings import Limits, Readings
from fhir_dmp.store.query import Eq, kept
from tests.access_world import INS, consent
from tests.unit.search.world import BASE, extract

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MICROS = micros_of(NOON)

PATIENTS = ("Patient/p", "Patient/q")
HL7 = "http://terminology.hl7.org/CodeSystem/"
NUMBER = "276087512345672"

DIRECTORY = {
    "Practitioner/p1": {"identifier": [{"system": RPPS[:-1], "value": "1"}]},
    "Practitioner/p2": {"identifier": [{"system": RPPS[:-1], "value": "2"}]},
    "Organization/s1": {"identifier": [{"system": "urn:s", "value": "1"}]},
    "Organization/s2": {"identifier": [{"system": "urn:s", "value": "2"}]},
    "PractitionerRole/r1": {
        "practitioner": {"reference": "Practitioner/p1"},
        "organization": {"reference": "Organization/s1"},
    },
    "Group/g": {"type": "practitioner", "actual": True, "member": [{"entity": {"reference": "Practitioner/p1"}}]},
}
WHOM = (
    *(((), ()), (("Practitioner/p1",), ()), (("urn:s|1",), ())) * 2,
    ((), ("TREAT",)),
    ((f"{RPPS}1",), ("TREAT",)),
    (("PractitionerRole/r1",), ()),
    (("Group/g",), ()),
    (("Organization/s1", "Practitioner/p2"), ()),
    (("Practitioner/p2",), ()),
    ((), ("BTG",)),
    ((), ("ETREAT",)),
    (("Practitioner/p1",), ("BTG", "ETREAT")),
)
"""Whom a provision is about, and for what they may ask."""

OF_REPRESENTATIVES = (*((("RelatedPerson/r1",), ("FAMRQT",)),) * 3, (("RelatedPerson/r1",), ()), *WHOM[:3])
OF_STRUCTURES = (*((("urn:s|1",), ()), (("Organization/s1",), ()), ((), ()), ((), ("TREAT",))), *WHOM[-2:])

WROTE = (
    [f"{RPPS}2", f"{NATIONAL}82", "Practitioner/p2", "urn:s|2"],
    ["client|c", "urn:s|1"],
    *(["client|other"],) * 7,
    ["Patient/p"],
)
PERIODS = (*({},) * 6, {"start": "2026-11-01"}, {"end": "2027"}, {"end": "2026-11-01"}, {"start": "2027"})
LABELS = (
    {"system": SYSTEM, "code": "MASQUE_PS"},
    {"system": SYSTEM, "code": "INVISIBLE_PATIENT"},
    {"system": SYSTEM, "code": "INVISIBLE_REPRESENTANTS_LEGAUX"},
    {"system": f"{HL7}v3-Confidentiality", "code": "R"},
    {"system": f"{HL7}v3-Confidentiality", "code": "N"},
)
DATES = (None, "2020-05-05", "2026-11-20", "2026-11")
ACTIONS = (*("read", "search") * 4, "create", "update", "delete", "relabel", "repeat", "govern")
WHO = (
    *("professional",) * 6,
    *("holder", "representative", "ehr", "lab", "insurance-feed") * 2,
    *("ehr", "representative", "auditor", "admin", "app"),
)
KINDS = (
    *("Observation",) * 5,
    *("DocumentReference",) * 3,
    *("Coverage",) * 2,
    *("MedicationRequest", "CarePlan", "Consent", "Consent", "CareTeam", "Patient", "Patient", "RelatedPerson"),
    *("Practitioner", "Organization", "Task", "Communication", "AuditEvent", "Encounter"),
)
CONCERNED = {
    "auditor": ("AuditEvent", "AuditEvent", "Observation"),
    "admin": ("Task", "Communication", "Observation"),
    "ehr": (*("Coverage",) * 6, *("Organization", "Consent") * 2, *KINDS),
    "insurance-feed": (*("Patient",) * 4, "CarePlan", "CarePlan", *KINDS),
    "lab": (*("Patient",) * 2, "CarePlan", "CarePlan", "Organization", "Organization", *KINDS),
}
"""What those few callers are asked about, beside whom the other types are the same one."""

SOURCES = {
    "professional": (
        *(("consent",), ("consent", "ended"), ("team",), ("doctors",), ("team", "denial"), ("consent", "denial")) * 2,
        *(("consent", "consent", "consent"), ("consent", "end"), ("team", "doctors", "consent"), ("denial",), ()),
    ),
    "representative": (
        *(("guardian",), ("consent",), ("consent", "ended"), ("guardian", "denial"), ("guardian", "end")) * 2,
        *(("consent", "denial"), ("denial",), ()),
    ),
    "holder": (("end",), ("consent",), ()),
}
OF_SYSTEMS = (
    *(("consent",), ("denial",), ("consent", "ended")) * 2,
    *(("consent", "ended"), ("denial",)),
    *(("consent", "denial"), ("end",), ("end",), ()),
)
"""Who said something of a record, together: what there is for such a caller to be let in or kept out by."""


class Situation(Struct, frozen=True):
    """Who asks for what, what was said of the records (``Patient/p`` → Policy), and what is there; ``copies``: it is for a copy."""

    subject: Subject
    action: str
    policies: dict
    sought: object
    rows: tuple
    copies: bool = False
    readings: Readings = field(default_factory=Readings)

    @property
    def who(self):
        """The kind of caller: of a person, or the role of a system."""
        return self.subject.person.kind if self.subject.person else self.subject.role

    def rules(self, policies=None):
        """Return the rules as the door makes them, by these policies in place of all."""
        known = self.policies if policies is None else policies
        more = {"readings": self.readings, "copies": self.copies}
        rules = rules_for(self.subject, self.action, known, NOON, load().matrix, restriction, **more)
        return (*rules, *finds(self.subject, self.action, self.sought))


@cache
def registry():
    """Return what compiling a Consent needs to know."""
    return Registry(lambda ref: DIRECTORY.get(str(ref)), authored(load()), BASE)


@cache
def restriction(scope):
    """Return the query of a scope's search restriction."""
    return build_restrict(load(), BASE, Limits())(scope.type, scope.restriction)


def situation(random, who=WHO):
    """Return a situation."""
    caller = random.choice(who)
    subject = subject_of(random, caller)
    sought = Eq("t", f"Patient.identifier={INS}|{NUMBER}")
    policies = {patient: policy(random, patient, caller) for patient in PATIENTS}
    if caller == "ehr" and random.choice((True, False)):  # two records of which the same was said
        entry = said(random, PATIENTS[0], 0, OF_STRUCTURES)
        policies = {each: replace(policies[each], entries=(entry,) if entry else ()) for each in PATIENTS}
    kinds = CONCERNED.get(caller, KINDS)
    mine = sorted(people.names_of(subject)) if subject.person else list(systems.names_of(subject))
    drawn = [row_of(random, kinds, number, mine) for number in range(random.choice((3, 4, 5)))]
    said_by = random.choice((0, 1))  # the name of a Consent that may have made the rules
    drawn.append(row_of(random, ("Consent",), said_by, mine))
    rows = {row["_id"]: row for row in drawn}
    return Situation(
        subject,
        random.choice(ACTIONS),
        policies,
        sought,
        tuple(rows.values()),
        random.choice((False, False, True)),
        readings(random),
    )


def readings(random):
    """Return how the rules are read that no text settles: most often as by default."""
    return random.choice(
        (
            *(Readings(),) * 4,
            Readings(
                emergency_masked=random.choice((True, False)),
                emergency_matrix=random.choice((True, False)),
                block_in_break_glass=random.choice((True, False)),
                break_glass_professions=random.choice(("", "10", "60,28")),
                structures_consult=random.choice((True, False)),
            ),
        )
    )


def subject_of(random, who):
    """Return a caller of this kind."""
    maker = {"professional": professional, "holder": holder, "representative": representative}.get(who)
    if maker is not None:
        return maker(random)
    bound = random.choice((None, None, None, "Patient/p"))
    purpose = random.choice(("TREAT", "TREAT", "PATADMIN"))
    structure = random.choice(("urn:s|1", "urn:s|1", None))
    return Subject("c", who, scopes(random, "system"), structure, patient=bound, purpose_of_use=purpose)


def professional(random):
    """Return a professional who is named as Practitioner/p1, at the first structure, at another one, or at none."""
    purpose, role = random.choice(
        (("TREAT", "app"), ("TREAT", "app"), ("TREAT", "app"), ("BTG", "app"), ("ETREAT", "samu"))
    )
    person = Person(
        *("professional", "account", random.choice((f"{RPPS}1", f"{NATIONAL}81")), "Practitioner/p1"),
        profession=random.choice((*("10",) * 5, "60", "28", None)),
        specialty=random.choice((*(None,) * 6, "SM25")),
        patient=random.choice(("Patient/p", "Patient/p", "Patient/p", "Patient/p", None)),
        purpose=purpose,
        reason=random.choice(("unconscious", "unconscious", None)),
        strong=random.choice((*(True,) * 7, False)),
    )
    structure = random.choice(("urn:s|1", "urn:s|9", None))
    return Subject("c", role, scopes(random, "user"), structure, person=person)


def holder(random):
    """Return the holder of the first record."""
    person = Person("holder", "account", "", "Patient/p", patient="Patient/p", purpose="PATRQT")
    return Subject("c", "app", scopes(random, "patient"), person=person)


def representative(random):
    """Return who may be a representative in the first record."""
    person = Person("representative", "account", "", "RelatedPerson/r1", patient="Patient/p", purpose="FAMRQT")
    return Subject("c", "app", scopes(random, "patient"), person=person)


def scopes(random, level):
    """Return the scopes of a token: most often all, at times some types, or parts of them by a restriction."""
    laboratory = f"{HL7}observation-category|laboratory"
    return random.choice(
        (
            *((f"{level}/*.cruds",),) * 9,
            (f"{level}/Observation.rs", f"{level}/DocumentReference.cruds"),
            (f"{level}/Observation.cruds?category={laboratory}", f"{level}/Practitioner.r"),
            (f"{level}/Observation.cruds?date=ge2026-06&status=final", f"{level}/DocumentReference.rs?status=current"),
        )
    )


def policy(random, patient, caller):
    """Return what was said of a record, as it is stored and read again: most often by one source, that it may decide alone."""
    kinds = random.choice(SOURCES.get(caller, OF_SYSTEMS))
    whom = {"representative": OF_REPRESENTATIVES, "professional": WHOM}.get(caller, OF_STRUCTURES)
    said = [SAID[kind](random, patient, number, whom) for number, kind in enumerate(kinds)]
    shares = tuple(each for each in PATIENTS if each != patient)
    return decode(encode(Policy(patient, tuple(entry for entry in said if entry is not None), shares)))


def team(random, patient, number, among):
    """Return what a care team says."""
    return Entry("CareTeam/t", 1, members=members(random))


def doctors(random, patient, number, among):
    """Return who the attending doctors are."""
    return Entry(patient, 1, doctors=members(random))


def guardian(random, patient, number, among):
    """Return who acts for the holder by the insurance's word: most often the one who may ask."""
    by = random.choice(("RelatedPerson/r1", "RelatedPerson/r1", "RelatedPerson/r2"))
    return Entry("RelatedPerson/r1", 1, representatives=(Member(((by,),), period(random)),))


def end(random, patient, number, among):
    """Return that a record was closed, or that its holder died."""
    said = random.choice(({"closed": 0}, {"closed": 0}, {"died": 0}, {"died": MICROS - DAY}, {"died": MICROS + DAY}))
    return Entry("Patient/end", 1, **said)


def ended(random, patient, number, among):
    """Return what is remembered of a Consent that spoke of single rows once."""
    return Entry(f"Consent/{number}", 1, untold=True)


def members(random):
    """Return some of a care team, or attending doctors, as the compiler resolves their references."""
    names = random.sample(("Practitioner/p1", "Practitioner/p2", "PractitionerRole/r1", "Organization/s1"), 2)
    return tuple(Member(named_by({"reference": name}, registry()), period(random)) for name in names)


def period(random):
    """Return a time that is past, present or to come."""
    return period_of(random.choice(PERIODS), UTC, "period")


def denial(random, patient, number, among):
    """Return what a Consent denies."""
    return said(random, patient, number, among, kind="deny")


def said(random, patient, number, among, kind="permit"):
    """Return what a Consent says; None for one that the server would have refused."""
    other = "deny" if kind == "permit" else "permit"
    whom = random.choice(among)
    tree = consent(patient, kind)
    tree["provision"] = provision(random, patient, kind, whom)
    if random.choice((True, True, False)):
        inner = random.choice((other, kind) if kind == "permit" else (other,))
        tree["provision"]["provision"] = [
            provision(random, patient, inner, random.choice((((), ()), whom, random.choice(among))))
        ]
    try:
        entry = compile_consent(tree, f"Consent/{number}", 1, registry()) if is_privacy(tree) else None
        if entry is not None:
            require_effect(entry.provision)
    except Unprocessable:
        return None
    return replace(entry, untold=random.choice((True, *(False,) * 5))) if entry is not None else None


def provision(random, patient, kind, whom):
    """Return one provision: whom, why, when, and what of the record."""
    actors, purposes = whom
    limits = random.choice((*((),) * 6, ("data",), ("securityLabel",), ("dataPeriod",), ("data", "securityLabel")))
    about = {
        "data": [
            random.choice(
                (
                    {"meaning": "instance", "reference": {"reference": f"Observation/{random.choice((0, 1, 2))}"}},
                    {"meaning": "related", "reference": {"reference": "Encounter/e1"}},
                    {"meaning": "authoredby", "reference": {"reference": "Practitioner/p1"}},
                    {"meaning": "authoredby", "reference": {"reference": "Organization/s2"}},
                )
            )
        ],
        "securityLabel": random.sample(LABELS, 1),
        "dataPeriod": random.choice(({"end": "2021"}, {"start": "2026-11-15"})),
    }
    when = random.choice(PERIODS)
    more = {name: about[name] for name in limits} | ({"period": when} if when else {})
    return consent(patient, kind, actors=actors, purposes=purposes, **more)["provision"]


def row_of(random, kinds, number, mine):
    """Return the row of a resource: as it is, as a superseded version of it, or as what a deletion leaves."""
    tree = resource(random, random.choice(kinds), str(number))
    index = dict(extract()(tree["resourceType"], codec.loads(codec.dumps(tree))))
    created = MICROS + random.choice((-60 * DAY, -31 * DAY - 1, -31 * DAY, -20 * DAY, -DAY))
    row = {
        **index,
        "_id": f"{tree['resourceType']}/{tree['id']}",
        "ty": tree["resourceType"],
        "co": f"{created:013x}0001",
        "au": random.choice((mine, mine, *WROTE)),
    }
    state = random.choice(("current", "current", "current", "current", "superseded", "deleted"))
    if state == "current":
        written_by_keeper = row["ty"] in NAMING and random.choice((True, True, False))
        return row | ({"kept": True} if written_by_keeper else {})
    if state == "deleted":
        left = {name: value for name, value in row.items() if name not in ("r", "w")}
        return left | {"t": kept(index["t"]), "del": True}
    row = {name: value for name, value in row.items() if name != "w"}
    return row | {"_id": f"{row['_id']}/1"} | ({"ca": [row["ca"], "10"]} if "ca" in row else {})


def resource(random, kind, own):
    """Return a resource of the type, of one of the records where it is of any."""
    patient = {"reference": random.choice((*("Patient/p",) * 5, "Patient/q"))}
    by = {"reference": random.choice(("Practitioner/p1", "Practitioner/p2", "Organization/s1", "Patient/q"))}
    when, encounter = random.choice(DATES), random.choice(({}, {"encounter": {"reference": "Encounter/e1"}}))
    made = {
        "Observation": {
            "status": random.choice(("final", "final", "amended")),
            "category": [{"coding": [{"system": f"{HL7}observation-category", "code": "laboratory"}]}],
            "subject": patient,
            "performer": [by],
            **encounter,
            **({"effectiveDateTime": when} if when else {}),
        },
        "DocumentReference": {
            "status": "current",
            "subject": patient,
            "author": [by],
            "context": {"encounter": [{"reference": "Encounter/e1"}]},
            **({"date": f"{when}T10:00:00Z"} if when and when.count("-") > 1 else {}),
        },
        "Coverage": {
            "status": "active",
            "beneficiary": patient,
            **random.choice(
                ({}, {"subscriber": {"reference": "Patient/q"}}, {"subscriber": {"reference": "Patient/p"}})
            ),
        },
        "MedicationRequest": {"status": "active", "subject": patient, "requester": by},
        "CarePlan": {"status": "active", "intent": "plan", "subject": patient},
        "Consent": {"status": "active", "patient": patient},
        "CareTeam": {"status": "active", "subject": patient},
        "Patient": {"identifier": [{"system": INS, "value": NUMBER}]},
        "RelatedPerson": {"patient": patient},
        "Task": {"status": "requested", "for": patient, "code": {"coding": [{"system": TASKS, "code": REVIEW}]}},
        "Communication": {"status": "completed", "subject": patient},
        "AuditEvent": {"entity": [{"what": patient}]},
        "Encounter": {"status": "finished", "subject": patient},
    }.get(kind, {})
    names = {"Patient": patient["reference"].partition("/")[2], "Encounter": "e1"}
    labels = random.sample(LABELS, random.choice((0, 0, 1, 1)))
    meta = {"meta": {"security": labels}} if labels else {}
    return {"resourceType": kind, "id": names.get(kind, own), **meta, **made}


SAID = {
    "consent": said,
    "denial": denial,
    "ended": ended,
    "team": team,
    "doctors": doctors,
    "guardian": guardian,
    "end": end,
}
