"""Which records a person may choose before a token is bound to one: every look goes through the one door and leaves its event."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.access.people import names_of
from fhir_dmp.access.policy import decode
from fhir_dmp.access.rules import rules_for, shut
from fhir_dmp.call import Call, Caller, Context, Result
from fhir_dmp.definitions.model import Matrix
from fhir_dmp.errors import FhirError, Unavailable
from fhir_dmp.fhir.ins import INS_LENGTH, INS_SYSTEMS
from fhir_dmp.settings import Readings
from fhir_dmp.store.accounts import Account
from fhir_dmp.store.grants import Grants, Look, PolicyRow
from fhir_dmp.store.query import NOTHING

MOST_ENCOUNTERS = 20
MOST_RECORDS = 20
"""How many records a professional is offered; all others are reached by the INS."""


class Record(Struct, frozen=True):
    """A record that may be chosen (``Patient/p``): by its holder, by who represents them, or by a professional.

    ``resource`` is the ``fhirUser`` for it if that is not the account's own.
    """

    patient: str
    label: str
    role: Literal["holder", "representative", "professional"]
    resource: str | None = None


class Encounter(Struct, frozen=True):
    """An encounter that may be chosen (``Encounter/e``)."""

    ref: str
    label: str


class Records(Struct, frozen=True):
    """Looks for records as the person would, by ``perform``."""

    perform: Callable[[Call, Context], Result]
    grants: Grants
    naming: Callable[[Sequence[str], int], Sequence[PolicyRow]]
    matrix: Matrix
    readings: Readings

    def of_account(self, account: Account) -> tuple[Record, ...]:
        """Return the records that are the person's to choose without naming them: their own, and those of whom they represent.

        That is told by their account, not by the records: nobody looked into one.
        """
        own = account.resource.startswith("Patient/")
        holder = (Record(account.resource, account.name, "holder"),) if own else ()
        return (
            *holder,
            *(Record(each.patient, each.label, "representative", each.resource) for each in account.represents),
        )

    def open_to(self, asker: Subject, context: Context) -> tuple[Record, ...]:
        """Return the records that name a professional, or their structure, and are open to them."""
        rows = self.naming(sorted(names_of(asker)), MOST_RECORDS)
        found = (self.named(asker, row.patient, context) for row in rows if self._opens(row, asker, context))
        return tuple(record for record in found if record is not None)

    def _opens(self, row: PolicyRow, asker: Subject, context: Context) -> bool:
        """Tell whether the record's policy opens it to the person, by the rules that judge whatever they read of it later."""
        subject, policies = _bound(asker, row.patient), {row.patient: decode(row.body)}
        rules = rules_for(
            subject, "read", policies, context.now, self.matrix, lambda _: NOTHING, readings=self.readings
        )
        return not shut(rules)

    def find(self, asker: Subject, ins: str, context: Context) -> Record | None:
        """Return the record of exactly this INS, or None.

        Of several it is the first that was made: who writes another Patient with somebody's number neither takes the place of the record
        nor shuts it to who needs it in an emergency.
        """
        digits = "".join(ins.split()).upper()
        value = ",".join(f"{system}|{digits}" for system in INS_SYSTEMS)
        if not digits.isalnum() or len(digits) > INS_LENGTH:
            return None
        found = [*self._searched(asker, context, Call("search-type", "Patient", params=(("identifier", value),)))]
        return _record(found[0]) if found else None

    def named(self, asker: Subject, patient: str, context: Context) -> Record | None:
        """Return the record, with as much of its name as the person may see."""
        within = self._as(_bound(asker, patient), context)
        try:
            result = self.perform(Call("read", "Patient", patient.partition("/")[2]), within)
        except Unavailable:
            raise
        except FhirError:
            return Record(patient, patient.partition("/")[2], "professional")
        return _record(json.loads(result.body or b"{}"))

    def encounters(self, asker: Subject, context: Context) -> tuple[Encounter, ...]:
        """Return the latest encounters of the record that the person may see."""
        patient = asker.person.patient if asker.person else None
        params = (("patient", patient or ""), ("_sort", "-date"), ("_count", str(MOST_ENCOUNTERS)))
        found = self._searched(asker, context, Call("search-type", "Encounter", params=params))
        return tuple(Encounter(f"Encounter/{each['id']}", _encounter_label(each)) for each in found)

    def _as(self, asker: Subject, context: Context) -> Context:
        """Return the Context of the person, with the policy of the record that they look at."""
        patient = asker.person.patient if asker.person else None
        standing = self.grants.find_standing(Look(asker.client, "", patient=patient)) if patient else None
        return Caller(asker, standing.policy if standing else None).enters(context)

    def _searched(self, asker: Subject, context: Context, call: Call) -> Iterator[Mapping[str, Any]]:
        try:
            result = self.perform(call, self._as(asker, context))
        except Unavailable:
            raise
        except FhirError:
            return
        for entry in json.loads(result.body or b"{}").get("entry", ()):
            yield entry["resource"]


def _bound(asker: Subject, patient: str) -> Subject:
    """Return the person as one whose token names the record."""
    return replace(asker, person=replace(asker.person, patient=patient) if asker.person else None)


def _record(patient: Mapping[str, Any]) -> Record:
    names: Sequence[Mapping[str, Any]] = patient.get("name", ())
    name = names[0] if names else {}
    text = name.get("text") or " ".join([*name.get("given", ()), name.get("family", "")]).strip()
    return Record(f"Patient/{patient['id']}", text or patient["id"], "professional")


def _encounter_label(encounter: Mapping[str, Any]) -> str:
    start = encounter.get("period", {}).get("start", "")[:10]
    kind = encounter.get("class", {})
    return " ".join(part for part in (start, kind.get("display") or kind.get("code", "")) if part) or encounter["id"]
