"""What people allowed apps, shown to them and taken back by them. https://www.rfc-editor.org/rfc/rfc7009."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.access.scopes import Scope, parse_scope
from fhir_dmp.call import Context
from fhir_dmp.clock import Clock
from fhir_dmp.errors import NotFound
from fhir_dmp.service.bearer import subject_of_family
from fhir_dmp.service.questions import organization_of, person_of
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.store.families import Families, Family
from fhir_dmp.store.grants import Grants
from fhir_dmp.token_act import Announce, TokenAct


class Allowed(Struct, frozen=True):
    """What a person allowed an app: since and until when (microseconds), and what."""

    id: str
    client_name: str
    began: int
    ends: int
    scopes: tuple[Scope, ...]
    offline: bool


class Allowances(Struct, frozen=True):
    """The door of what was allowed; made once for each worker by the composition root."""

    grants: Grants
    families: Families
    clock: Clock
    announce: Announce

    def granted(self, signed: SignedIn) -> tuple[Allowed, ...]:
        """Return what the person allowed and what still holds, the latest first."""
        now = self.clock.micros()
        found = self.families.of_account(signed.account.id)
        held = [family for family in found if family.redeemed and not family.revoked and family.ends > now]
        return tuple(self._told(family) for family in reversed(held))

    def withdraw(self, family_id: str, signed: SignedIn, context: Context) -> None:
        """Take back what the person allowed: no token of it holds from then on. Raise ``NotFound`` for what is not theirs."""
        family = next((each for each in self.families.of_account(signed.account.id) if each.id == family_id), None)
        if family is None:
            person = Subject("", "", (), organization_of(None, signed), person=person_of(signed, None))
            absent = NotFound("There is no such authorization of yours.")
            act = TokenAct("revoke", error=absent.code, why=str(absent), subject=person)
            self.announce(act, replace(context, subject=person))
            raise absent
        self.families.revoke_family(family.id)
        subject = subject_of_family(family, self.grants.find_client(family.client))
        if signed.session.secret and subject.person and subject.person.kind != "representative":
            subject = replace(subject, person=replace(subject.person, secret=True))
        self.announce(TokenAct("revoke", family.client, subject=subject, family=family.id), context)

    def _told(self, family: Family) -> Allowed:
        client = self.grants.find_client(family.client)
        name = (client.name if client else None) or family.client
        scopes = tuple(scope for scope in map(parse_scope, family.scopes) if scope)
        return Allowed(family.id, name, family.began, family.ends, scopes, "offline_access" in family.scopes)
