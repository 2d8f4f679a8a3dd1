"""FHIR $lastn: the latest observations of each kind. https://hl7.org/fhir/R4/observation-operation-lastn.html.

Two observations are of a kind if they share a coding, or the text where neither has one. What is searched by stands in the definition.
"""

from __future__ import annotations

import msgspec

from fhir_dmp.access.narrow import narrow
from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.errors import Invalid, TooCostly
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.interactions.listing import Listing
from fhir_dmp.interactions.search import compile_query
from fhir_dmp.interactions.subset import ASKED, counts_alone, subset_of
from fhir_dmp.search.parse import parse
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, Order, Page
from fhir_dmp.store.query import both

_NEWEST = (Order("ds", descending=True), Order("co"))


class _Coding(msgspec.Struct):
    system: str | None = None
    code: str | None = None


class _Concept(msgspec.Struct):
    coding: list[_Coding] = []
    text: str | None = None


class _Coded(msgspec.Struct):
    code: _Concept = msgspec.field(default_factory=_Concept)


def lastn(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the ``max`` (1) newest observations of each kind among those that the caller may see, newest first.

    Raises ``Invalid`` without anything that is searched by, ``TooCostly`` where too many would have to be looked at.
    """
    listing = Listing.of(call, context, env)
    most = call.parameters.value("max") or 1
    params = tuple((item.name, str(item.value)) for item in call.parameters.items if item.name != "max")
    request = parse("Observation", params, env.definitions, env.limits, strict=True)
    if not request.criteria:
        raise Invalid("$lastn needs a patient, a subject or another criterion.", expression="subject")
    query = both(compile_query(request, context, grant, env), narrow(grant.rules("search")))
    kinds = _Kinds()
    page = Page(env.limits.page, _NEWEST)
    seen = 0
    latest: list[Stored] = []
    while True:
        found = env.store.search(query, page)
        latest += [row for row in found.rows if kinds.count(row) <= most]
        seen += len(found.rows)
        if not found.more:
            break
        if seen >= env.limits.chain:
            raise TooCostly(f"$lastn looks at {env.limits.chain} observations; more match. Name a patient or a code.")
        page = Page(env.limits.page, _NEWEST, after=found.last)
    parts = tuple(each for each in call.params if each[0] in ASKED)
    used, part = (*params, ("max", str(most)), *parts), subset_of(parts, env.definitions)
    if not counts_alone(parts):
        return listing.searchset(used, Found(tuple(latest), more=False), part, total=len(latest))
    concerned = tuple(map(disclosed, latest))
    return listing.searchset(used, Found((), more=False), part, total=len(latest), concerned=concerned)


class _Kinds:
    """Counts observations by kind, in the order in which they come."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._counts: list[int] = []

    def count(self, row: Stored) -> int:
        """Return how many of the row's kind there were, with this one."""
        names = _names(row.body or b"{}")
        kind = next((self._of[name] for name in names if name in self._of), len(self._counts))
        if kind == len(self._counts):
            self._counts.append(0)
        for name in names:
            self._of.setdefault(name, kind)
        self._counts[kind] += 1
        return self._counts[kind]


def _names(body: bytes) -> list[str]:
    concept = msgspec.json.decode(body, type=_Coded).code
    codings = [f"{coding.system or ''}|{coding.code}" for coding in concept.coding if coding.code]
    return codings or [concept.text or ""]
