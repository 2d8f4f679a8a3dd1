"""System operation $due-notices: write what has fallen due to the holders of records, once a day, for the administrator.

Two weeks after the deposit of what is hidden until it is announced, the patient is told of an update and invited to ask (Public Health Code,
R.1111-53); and before an authorisation ends. Nothing depends on it: what is hidden shows itself after a month, and what ends, ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from fhir_dmp.access.policy import Policy, decode
from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.clock import datetime_of, micros_of, moment
from fhir_dmp.errors import Refused
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.labels import HIDDEN_FROM_HOLDER
from fhir_dmp.fhir.parameters import write
from fhir_dmp.interactions.choices import hidden_from_representatives
from fhir_dmp.interactions.entities import entity
from fhir_dmp.interactions.notices import notice, untold
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import Between, Eq, both

HIDDEN_FOR = timedelta(days=14)
LOOKED_BACK = timedelta(days=31)
BEFORE_THE_END = timedelta(days=14)
MOST = 100
"""Notices of one call: whoever calls asks again while there are more."""

_PAGE = 500
_UPDATED = "Votre dossier a été mis à jour. Consultez le professionnel qui vous suit : il vous présentera cet élément."
_ENDS = "L’autorisation d’accès donnée à {who} prend fin le {day}. Vous pouvez la renouveler."
_Due = tuple[str, str, str, str]
"""Cause, record, words, and what it is about: where that is hidden from representatives, so is the notice."""


def due_notices(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan of the notices that are due and not written yet: ``MOST`` at a time."""
    del call, grant
    if context.subject is None or context.subject.person is not None or context.subject.role != "admin":
        raise Refused("Notices are written by the administrator of records.", reasons=("role",))
    due = list(_untold(context, env))
    secret = hidden_from_representatives([source for _, _, _, source in due], env)
    changes = tuple(
        notice(cause, patient, {"reference": patient}, words, context, env, secret=source in secret)
        for cause, patient, words, source in due
    )

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        told = [("written", "integer", len(stored)), ("more", "boolean", len(stored) == MOST)]
        return Result("ok", codec.dumps(write(told)))

    return Plan(changes=changes, finish=finish, entities=tuple(map(entity, changes)), entitled=True)


def _untold(context: Context, env: Env) -> Iterator[_Due]:
    found = 0
    for some in (*_pages(_hidden(context, env)), *_pages(_ending(context, env))):
        fresh = set(untold([cause for cause, *_ in some], env))
        for each in some:
            if each[0] in fresh and found < MOST:
                found += 1
                yield each


def _pages(due: Iterator[_Due]) -> Iterator[list[_Due]]:
    some: list[_Due] = []
    for each in due:
        some.append(each)
        if len(some) == _PAGE:
            yield some
            some = []
    if some:
        yield some


def _hidden(context: Context, env: Env) -> Iterator[_Due]:
    """Yield a notice for each item that has been hidden from its holder for two weeks."""
    low, high = (moment(micros_of(context.now - ago)) for ago in (LOOKED_BACK, HIDDEN_FOR))
    query = both(Between("lu", low), Between("co", low, high), Eq("sec", HIDDEN_FROM_HOLDER))
    after = None
    while True:
        page = env.store.search(query, Page(_PAGE, after=after))
        for row in page.rows:
            for patient in row.index.get("pt") or ():
                yield f"hidden/{row.ref}/{patient}", patient, _UPDATED, str(row.ref)
        if not page.more:
            return
        after = page.last


def _ending(context: Context, env: Env) -> Iterator[_Due]:
    """Yield a notice for each authorisation that ends soon."""
    last = ""
    while rows := env.store.policies_after(last, _PAGE):
        for row in rows:
            yield from _ends(decode(row.body), context.now)
        last = rows[-1].patient


def _ends(policy: Policy, now: datetime) -> Iterator[_Due]:
    soon = micros_of(now + BEFORE_THE_END)
    for entry in policy.entries:
        said = entry.provision
        if policy.closing or said is None or not said.permit or said.period.end is None or not said.actors:
            continue
        if micros_of(now) < said.period.end <= soon:
            day = datetime_of(said.period.end).date().isoformat()
            who = ", ".join(" + ".join(actor) for actor in said.actors)
            words = _ENDS.format(who=who, day=day)
            yield f"ends/{entry.source}/{said.period.end}", policy.patient, words, entry.source
