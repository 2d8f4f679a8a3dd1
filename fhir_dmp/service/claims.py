"""An authorization that somebody asks for, as far as it is known: whoever is refused, or says no, is told by name. https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1.

The session proves who asks; what they claim (a purpose, its reason, a record) is what they were refused. Who is not signed in is a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Context
from fhir_dmp.fhir.reference import ID
from fhir_dmp.oauth.code_grant import EMERGENCIES, claimed_purpose
from fhir_dmp.service.answers import Choice
from fhir_dmp.service.questions import organization_of, person_of
from fhir_dmp.service.records import Record
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.store.grants import Client
from fhir_dmp.token_act import TokenAct


class Claim(Struct):
    """What is known so far of an authorization, for the event of its refusal.

    ``offered`` are the records that the person may choose without naming them, ``launched`` is the one that an EHR's launch names,
    ``record`` the one that was found for them.
    """

    signed: SignedIn | None
    choice: Choice | None = None
    offered: tuple[Record, ...] = ()
    client_id: str = ""
    client: Client | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    launched: str | None = None
    record: Record | None = None
    scopes: tuple[str, ...] = ()

    def refused(self, error: str, why: str) -> TokenAct:
        """Return the act of the refusal."""
        record = self._named()
        patient = record.patient if record else self.launched
        patients = (patient,) if patient else ()
        return TokenAct(
            "authorize", self.client_id, error, why, self.scopes, subject=self._claimant(record), patients=patients
        )

    def known(self, context: Context) -> Context:
        """Return the Context of who answered by a form of their own browser's: no stranger, of whose refusals a flood is only counted."""
        return replace(context, subject=self._claimant(None)) if self.choice else context

    def in_vain(self, problem: str) -> TokenAct | None:
        """Return the act of an emergency that was claimed by an answer that is asked for again; None where none was claimed."""
        if self.signed is None or self._claimed(self.client.role if self.client else "") is None:
            return None
        return self.refused("invalid_request", f"An emergency was claimed and not granted: {problem}.")

    def _claimant(self, record: Record | None) -> Subject | None:
        if self.signed is None:
            return None
        person, role = person_of(self.signed, record), self.client.role if self.client else ""
        claimed = self._claimed(role)
        if claimed:
            reason = self.choice.reason.strip() if self.choice else None
            person = replace(person, purpose=claimed, reason=reason or None)
        organization = organization_of(self.client, self.signed)
        return Subject(self.client_id[:64], role, (), organization, person=replace(person, patient=None))

    def _claimed(self, role: str) -> str | None:
        """Return the emergency that the app asks for in the person's name, or that the person says it is."""
        asked = claimed_purpose(self.params)
        if asked in EMERGENCIES:
            return asked
        return EMERGENCIES[role == "samu"] if self.choice and self.choice.emergency else None

    def _named(self) -> Record | None:
        """Return the record that was found, or that the answer names: to a patient theirs alone, so that nobody puts a line into another's."""
        chosen = self.choice.patient if self.choice else None
        if self.record or self.launched or not chosen or self.signed is None:
            return self.record
        if self.signed.account.kind == "professional" and chosen.startswith("Patient/") and ID.match(chosen[8:]):
            return Record(chosen, "", "professional")
        return next((each for each in self.offered if each.patient == chosen), None)
