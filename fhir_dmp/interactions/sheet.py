"""What is known of a transaction while its Plan is made: its entries, and which resource each of them is about.

https://hl7.org/fhir/R4/http.html#trules: identities come first, for references between entries lead to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.call import MOST_CONDITIONS, Call, Context, Entity, Env, Grant, Plan
from fhir_dmp.errors import FhirError, Invalid, NotFound, NotSupported, TooLong, UnknownType
from fhir_dmp.fhir.reference import ID, Ref
from fhir_dmp.interactions.conditional import Conditions, only, to_refer, to_write
from fhir_dmp.interactions.entries import Asked, At, asked, each, entries
from fhir_dmp.interactions.links import Links
from fhir_dmp.interactions.meeting import Asking
from fhir_dmp.store.change import Change, Lock, Stored
from fhir_dmp.store.query import Row

READS = ("GET", "HEAD")
RENEWING = ("PUT", "PATCH", "DELETE")
"""Methods that are about a resource which may be there already."""


class Item(Struct):
    """One entry on its way: what it asks, the resource it is about, and what it comes to."""

    asked: Asked
    ref: Ref | None = None
    change: Change | None = None
    existing: Stored | None = None
    plan: Plan | None = None
    withheld: FhirError | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """What the entry changes: one resource, or what its operation does."""
        return self.plan.changes if self.plan else (self.change,) if self.change else ()

    @property
    def place(self) -> int:
        """Its place in the bundle, from 0."""
        return self.asked.place

    @property
    def call(self) -> Call:
        """The call that it is."""
        return self.asked.call

    @property
    def unchosen(self) -> bool:
        """Tell whether the entry makes a resource under an id of the server's, though it says PUT: nothing matched its criteria."""
        return self.call.id is None and self.existing is None and "id" not in self.asked.tree

    @property
    def stands(self) -> bool:
        """Tell whether what the entry would create is there already."""
        return self.asked.method == "POST" and self.existing is not None


class Sheet(Struct):
    """What is known of a transaction while its Plan is made.

    ``by_criteria`` are the entries that make what criteria name, by the key of their lock; ``before`` the present versions of what entries
    are about; ``rows`` what entries will be found by, by their places. What criteria match that entries are about is told by ``written``, what
    they refer to by ``referred``: ``criteria`` are all by which they do, ``met`` what these found.
    """

    items: list[Item]
    context: Context
    grant: Grant
    env: Env
    written: Conditions
    referred: Conditions
    links: Links
    locks: dict[str, Lock] = field(default_factory=dict)
    by_criteria: dict[str, Item] = field(default_factory=dict)
    relied_on: dict[Ref, int] = field(default_factory=dict)
    before: Mapping[Ref, Stored] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    versions: dict[int, list[str]] = field(default_factory=dict)
    anew: set[int] = field(default_factory=set)
    criteria: list[str] = field(default_factory=list)
    met: dict[Ref, Entity] = field(default_factory=dict)

    def each(self, methods: Sequence[str], do: Callable[[Item], None]) -> None:
        """Do it for each entry of the methods, one method after the other; what is invalid is raised together, each with its place."""
        wanted = [item for method in methods for item in self.items if item.asked.method == method]
        each(wanted, lambda item: item.place, do)

    def require_few_criteria(self) -> None:
        """Raise ``TooLong`` for more criteria than one event can tell, of entries and of references together."""
        asked = (*(item.call.criteria or "" for item in self.items), *self.criteria)
        if sum(map(len, asked)) > MOST_CONDITIONS:
            raise TooLong(f"The criteria of a transaction may have {MOST_CONDITIONS} characters.", expression="Bundle")


def sheet_of(call: Call, context: Context, grant: Grant, env: Env) -> Sheet:
    """Return the sheet of a transaction, with the resource that each entry is about."""
    written, referred = to_write(context, grant, env), to_refer(context, grant, env)
    sheet = Sheet(_items(call, context, env), context, grant, env, written, referred, Links(context.base_url))
    sheet.require_few_criteria()
    written.ask((item.call.resource_type, item.call.criteria) for item in sheet.items if item.call.criteria is not None)
    with Asking():
        for method in ("DELETE", "POST", "PUT", "PATCH"):
            sheet.each((method,), lambda item: _identify(item, sheet))
    _require_distinct(sheet.items)
    refs = [item.ref for item in sheet.items if item.ref and item.asked.method in RENEWING]
    sheet.before = env.store.find_many(refs) if refs else {}
    return sheet


def _items(call: Call, context: Context, env: Env) -> list[Item]:
    def item(numbered: tuple[int, Any]) -> Item:
        place, entry = numbered
        try:
            made = asked(place, entry, context, env)
        except UnknownType as error:
            raise Invalid(str(error), issues=error.issues) from None
        if made.call.type == "AuditEvent" and made.method not in READS:
            raise NotSupported("An AuditEvent is sent alone, not in a transaction.", expression="Bundle.request.url")
        return Item(replace(made, call=replace(made.call, provenance=call.provenance)) if call.provenance else made)

    items = each(enumerate(entries(call, env)), lambda numbered: numbered[0], item)
    urls = Counter(item.asked.full_url for item in items if item.asked.full_url)
    twice = next((url for url, times in urls.items() if times > 1), None)
    if twice is not None:
        raise Invalid(f"Two entries have the fullUrl {twice[:200]!r}.", expression="Bundle.entry.fullUrl")
    return items


def _identify(item: Item, sheet: Sheet) -> None:
    """Give the entry the resource that it is about: by its id, by what its criteria match, or a new one."""
    call = item.call
    if call.criteria is not None:
        with At(item.place, of_query=True):
            matched = sheet.written.match(call.resource_type, call.criteria)
        sheet.locks[matched.lock.key] = matched.lock
        item.existing = _standing(item, only(matched, sheet.env), sheet)
        item.ref = item.existing.ref if item.existing else _twin(item, matched.lock.key, sheet).ref
    item.ref = item.ref or _new_ref(item, sheet.env)
    if item.ref is not None and not ID.match(item.ref.id):
        raise Invalid(f"{item.ref.id[:80]!r} is no FHIR id.", expression="Bundle.request.url")
    if item.ref is not None and item.asked.full_url and item.asked.method != "DELETE":
        sheet.links.add_entry(item.asked.full_url, str(item.ref))


def _standing(item: Item, found: Stored | None, sheet: Sheet) -> Stored | None:
    """Return what was found, unless the entry creates and this bundle deletes what stands in its way."""
    if found is None or item.asked.method != "POST":
        return found
    deleted = any(other.ref == found.ref for other in sheet.items if other.asked.method == "DELETE")
    return None if deleted else found


def _twin(item: Item, key: str, sheet: Sheet) -> Item:
    """Return the first entry that makes what the criteria name; two that differ in the way contradict each other."""
    if item.asked.method == "PATCH":
        raise NotFound("Nothing matches the criteria; there is nothing to patch.", expression="Bundle.request.url")
    if item.asked.method == "DELETE":
        return item
    first = sheet.by_criteria.setdefault(key, item)
    if first.asked.method != item.asked.method:
        raise Invalid("Another entry has the same criteria.", expression="Bundle.request.url")
    return first


def _new_ref(item: Item, env: Env) -> Ref | None:
    call, method = item.call, item.asked.method
    if call.id is not None:
        return Ref(call.resource_type, call.id)
    if method == "DELETE":
        return None
    wanted = item.asked.tree.get("id") if method == "PUT" else None
    return Ref(call.resource_type, wanted if isinstance(wanted, str) else env.ids.new())


def _require_distinct(items: Iterable[Item]) -> None:
    """Refuse two entries about the same resource, as the standard asks, however each of them names it."""
    seen: set[Ref] = set()
    for item in items:
        if item.ref is None or item.asked.method not in RENEWING:
            continue
        if item.ref in seen:
            with At(item.place):
                raise Invalid(f"Two entries are about {item.ref}.", expression="Bundle.request.url")
        seen.add(item.ref)
