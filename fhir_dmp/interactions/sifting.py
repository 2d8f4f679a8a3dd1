"""Lists whose rows no query tells to the end: Provenances, seen by who sees all that they are about, and past versions of what is hidden.

A query that finds those Provenances alone names them, and there is an end to how many it names. A past version is judged by what it held; the
present one may be withheld by what it holds (an encounter, an author, a day), and then its past is too. In either case a list finds all that
the other rules permit, a page is filled with what is seen of that, and nobody counts it. https://hl7.org/fhir/R4/http.html#history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Action, Rule
from fhir_dmp.access.narrow import narrow
from fhir_dmp.call import Grant
from fhir_dmp.errors import TooCostly
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, Store
from fhir_dmp.store.query import Query, mentions

Keys = tuple[Any, ...] | None
TYPE = "Provenance"
MOST_ROUNDS = 20
"""Times that a page is filled up; then it is shorter than what was asked for, and leads on."""

_TOLD_BY_CONTENT = frozenset({"t", "r", "ds"})


class Sieve(Struct, frozen=True):
    """What narrows a list, and what is left to judge of its rows.

    With a ``fault`` they are Provenances, too many to be named, and whoever counts them has no answer but that; with a store (``present``)
    past versions, by the present rows there.
    """

    allowed: Query
    grant: Grant
    fault: TooCostly | None = None
    present: Store | None = None

    @property
    def is_exact(self) -> bool:
        """Tell whether the query finds what is seen and nothing else, so that it can be counted."""
        return self.fault is None and self.present is None

    def require_exact(self) -> None:
        """Raise ``TooCostly`` if nobody can count what is seen."""
        if self.fault is not None:
            raise self.fault
        if self.present is not None:
            raise TooCostly("What is seen of these versions is told by what each holds: they are not counted.")

    def passed(self, rows: Sequence[Stored]) -> Sequence[Stored]:
        """Return those of the rows that the caller sees."""
        seen = self._of_what_is_seen(rows) if self.fault else rows
        return self._of_present(seen, self.present) if self.present else seen

    def readable(self, rows: Sequence[Stored]) -> list[Stored]:
        """Return those of the rows that the caller may read as well as find."""
        rules = self.grant.rules("read", provenances_apart=self.fault is not None)
        return [row for row in self.passed(rows) if decide(rules, row.index).permit]

    def _of_what_is_seen(self, rows: Sequence[Stored]) -> Sequence[Stored]:
        about = tuple(dict.fromkeys(row.ref for row in rows if row.ref.type == TYPE))
        seen = self.grant.sees(about) if about else ()
        return [row for row in rows if row.ref.type != TYPE or row.ref in seen]

    def _of_present(self, rows: Sequence[Stored], store: Store) -> Sequence[Stored]:
        past = tuple(dict.fromkeys(row.ref for row in rows if "un" in row.index))
        found = store.find_many(past) if past else {}
        hidden = {ref for ref in past if ref not in found or not self.grant.decide("read", found[ref].index).permit}
        return [row for row in rows if row.ref not in hidden or "un" not in row.index]


def sieve_of(grant: Grant, action: Action, *, histories: Store | None = None, uncounted: bool = False) -> Sieve:
    """Return the sieve of a list, or of the ``histories`` of many resources in a store, which may be ``uncounted`` whatever the rules are.

    Raises ``TooCostly`` where too many records would have to be looked at.
    """
    fault: TooCostly | None = None
    try:
        rules: tuple[Rule, ...] = grant.rules(action)
    except TooCostly as error:
        fault, rules = error, grant.rules(action, provenances_apart=True)
    if histories is not None and not uncounted and not any(mentions(rule.where, _TOLD_BY_CONTENT) for rule in rules):
        histories = None
    return Sieve(narrow(rules), grant, fault, histories)


def filled(sieve: Sieve, limit: int, after: Keys, find: Callable[[int, Keys], Found]) -> Found:
    """Return a page of what ``find`` (so many rows, after these keys) finds and the sieve lets through."""
    found = find(limit, after)
    rows = list(sieve.passed(found.rows))
    for _ in range(MOST_ROUNDS):
        if len(rows) >= limit or not found.more:
            break
        found = find(limit - len(rows), found.last)
        rows.extend(sieve.passed(found.rows))
    return replace(found, rows=tuple(rows))
