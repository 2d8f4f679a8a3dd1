"""The end of access in an emergency: one event for each beginning, by a mark in the commit of each, whoever tells it and whatever breaks off.

A beginning's mark stands from its own commit until its end is durable; an end's stays, so that no second one is ever told.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

import structlog
from msgspec import Struct, field

from fhir_dmp.access.people import EMERGENCIES
from fhir_dmp.audit.emergency import EXPIRY, expiry
from fhir_dmp.call import Env
from fhir_dmp.clock import SECOND
from fhir_dmp.errors import Stale
from fhir_dmp.service.counting import count_act
from fhir_dmp.service.perform import record_once
from fhir_dmp.store.change import Event
from fhir_dmp.store.families import Families
from fhir_dmp.store.grants import Grants, Look
from fhir_dmp.token_act import TokenAct

LOOK_SECONDS = 10.0
"""How often a server looks whose emergency is over."""

LATE_MICROS = 5 * SECOND
"""How long after its time an access is taken for over: another worker's clock may say that it is not."""

_log = structlog.get_logger(__name__)
_BEGAN, _ENDED = "emergency/began/", "emergency/ended/"


def mark_of(act: TokenAct, event: Event) -> str | None:
    """Return the mark that the event of an OAuth act is committed with: None if it neither begins nor ends an emergency.

    That of a beginning names the event, so that its end can be told by what it says.
    """
    person = act.subject.person if act.subject else None
    if act.error or not act.family or person is None or person.purpose not in EMERGENCIES:
        return None
    return {"authorize": f"{_BEGAN}{act.family}/{event.id}", "revoke": _ended(act.family)}.get(act.kind)


def _ended(family: str) -> str:
    return f"{_ENDED}{family}"


class Emergencies(Struct, frozen=True):
    """Tells the end of each access in an emergency that nobody ended; made once for each worker by the composition root.

    ``damaged`` are the beginnings whose rows say nothing any more, each with a digest of what it is instead: told once, and again if it changes.
    """

    env: Env
    grants: Grants
    families: Families
    damaged: dict[str, bytes] = field(default_factory=dict)

    def tell(self) -> None:
        """Make durable that those are over which are; raise ``Unavailable`` if that cannot be: it is told later.

        Nothing of an authorization holds any more before its end is told: a worker that paused with a code in its hand, however long and
        whatever its clock says, gives nobody an access whose end stands in the log.
        """
        for mark in self.env.store.marks(_BEGAN):
            family, _, start_id = mark.removeprefix(_BEGAN).rpartition("/")
            if not self._holds(family):
                self.families.revoke_family(family)
                if self._end(family, start_id):
                    self.env.store.forget_mark(mark)

    def _holds(self, family_id: str) -> bool:
        """Tell whether the authorization may still open something: it is not over, and client, account and person stand."""
        family = self.families.find_family(family_id)
        if family is None or family.ends + LATE_MICROS <= self.env.clock.micros():
            return False
        standing = self.grants.find_standing(Look(family.client, "", family.id, family.account))
        if standing is None or standing.registration != family.registration:
            return False
        return standing.person is not None and not standing.revoked

    def _end(self, family: str, start_id: str) -> bool:
        """Tell the end, unless somebody has; return False if that must wait for who mends the row of the beginning."""
        env = self.env
        start = env.store.find_event(start_id)
        if start is None:
            return True
        try:
            event = expiry(start, env.ids.new(), env.clock.micros())
        except ValueError:
            self._tell_damaged(start)
            return False
        self.damaged.pop(start_id, None)
        with suppress(Stale):
            record_once(event, _ended(family), env)
            count_act(EXPIRY, "0")
        return True

    def _tell_damaged(self, start: Event) -> None:
        """Say that the end waits for who mends the row, unless that was said of the row as it is: it is looked at every few seconds."""
        found = hashlib.sha256(start.body).digest()
        if self.damaged.get(start.id) != found:
            self.damaged[start.id] = found
            _log.error("emergency-damaged", event_id=start.id)
