"""FHIR batch and transaction: many calls in one body. https://hl7.org/fhir/R4/http.html#transaction.

A transaction is one Plan: deletions, creations, updates, then reads; all or nothing. A batch passes each entry through
the door. An answer's entry holds the resource only where asked for: a read, or ``Prefer: return=representation``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from fhir_dmp.access.model import Action
from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Act, Call, Context, Entity, Env, Grant, Interaction, Plan, Result
from fhir_dmp.errors import FhirError, Gone, Invalid, MultipleMatches, NotFound, NotSupported, UnknownType
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import Entry, bundle
from fhir_dmp.fhir.reference import ID, Ref
from fhir_dmp.interactions.conditional import Criteria, Matched, compiled, match_each, only
from fhir_dmp.interactions.entries import ORDER, Asked, At, answer, asked, each, entries, named
from fhir_dmp.interactions.links import Links, conditional_references
from fhir_dmp.interactions.operation import given
from fhir_dmp.interactions.patch import patched
from fhir_dmp.interactions.read import read
from fhir_dmp.interactions.search import compile_query
from fhir_dmp.interactions.vread import vread
from fhir_dmp.interactions.write import (
    disclosed,
    entity,
    indexed,
    known,
    next_version,
    prepare,
    removal,
    require_valid,
    withheld,
)
from fhir_dmp.search.parse import parse
from fhir_dmp.store.change import Change, Lock, Stored
from fhir_dmp.store.query import Row, matches

__all__ = ["batch", "named", "transaction"]

_READS = ("GET", "HEAD")
_OUTCOMES: Mapping[str, Any] = {"create": "created", "update": "ok", "delete": "no-content"}


def batch(
    call: Call, context: Context, env: Env, do: Callable[[Call], Act], refuse: Callable[[Call, FhirError], Act]
) -> Result:
    """Do each entry by itself in the order of the standard; the answers are in the order of the request.

    ``do`` passes one call through the door, ``refuse`` leaves the event of an entry that is no call. Each entry has an
    event of its own, and so has the batch. Of a batch with a mark each entry has one too, and what was done before is
    known when the batch is sent again.
    """
    items: list[Asked] = []
    acts: dict[int, Act] = {}
    for place, entry in enumerate(entries(call, env)):
        try:
            with At(place):
                items.append(asked(place, entry, context, env))
        except FhirError as error:
            acts[place] = refuse(Call("batch"), error)
    for item in sorted(items, key=lambda item: ORDER[item.method]):
        mark = f"{call.mark}/{item.place}" if call.mark else None
        act = do(replace(item.call, prefer=call.prefer, strict=call.strict, mark=mark, provenance=call.provenance))
        acts[item.place] = _headless(act) if item.method == "HEAD" else act
    done = tuple(acts[place] for place in sorted(acts))
    return Result("ok", bundle("batch-response", _answers(done, context, call)), entries=done)


@dataclass(slots=True)
class _Item:
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
        return self.asked.place

    @property
    def call(self) -> Call:
        return self.asked.call

    @property
    def unchosen(self) -> bool:
        """Tell whether the entry makes a resource under an id of the server's, though it says PUT: nothing matched its criteria."""
        return self.call.id is None and self.existing is None and "id" not in self.asked.tree

    @property
    def stands(self) -> bool:
        """Tell whether what the entry would create is there already."""
        return self.asked.method == "POST" and self.existing is not None


@dataclass(slots=True)
class _Sheet:
    """What is known of a transaction while its Plan is made."""

    items: list[_Item]
    context: Context
    grant: Grant
    env: Env
    links: Links = field(default_factory=Links)
    locks: dict[str, Lock] = field(default_factory=dict)
    by_criteria: dict[str, _Item] = field(default_factory=dict)
    relied_on: dict[Ref, int] = field(default_factory=dict)
    before: Mapping[Ref, Stored] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    asked_before: dict[tuple[str, str], Matched] = field(default_factory=dict)

    def each(self, methods: Iterable[str], do: Callable[[_Item], None]) -> None:
        wanted = [item for item in self.items if item.asked.method in methods]
        each(wanted, lambda item: item.place, do)

    def matched(self, item: _Item, resource_type: str, criteria: str) -> Matched:
        found = self.asked_before.get((resource_type, criteria))
        if found is not None:
            return found
        with At(item.place, of_query=True):
            wanted = compiled(resource_type, criteria, self.context, self.grant, self.env)
        return match_each((wanted,), self.env)[0]

    def ask(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Ask at once what types and criteria match; what cannot be asked is refused when its entry's turn comes."""
        meant: dict[tuple[str, str], Criteria] = {}
        for question in wanted:
            with suppress(FhirError):
                meant[question] = compiled(*question, self.context, self.grant, self.env)
        if meant:
            fresh = tuple(dict.fromkeys(meant.values()))
            found = dict(zip(fresh, match_each(fresh, self.env), strict=True))
            self.asked_before.update((question, found[criteria]) for question, criteria in meant.items())


Operations = Mapping[str, tuple[Action | None, Interaction]]
"""By code: the right that an operation needs on its type, and who does it."""


def transaction(operations: Operations, call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the one Plan of all entries; what is wrong with any of them refuses them all, with its place."""
    sheet = _Sheet(_items(call, context, env), context, grant, env)
    sheet.ask((item.call.resource_type, item.call.criteria) for item in sheet.items if item.call.criteria is not None)
    for method in ("DELETE", "POST", "PUT", "PATCH"):
        sheet.each((method,), lambda item: _identify(item, sheet))
    _require_distinct(sheet.items)
    refs = [item.ref for item in sheet.items if item.ref and item.asked.method in ("PUT", "PATCH", "DELETE")]
    sheet.before = env.store.find_many(refs) if refs else {}
    _link(sheet)
    _change(sheet)
    _operate(operations, sheet)
    reads = [item for item in sheet.items if item.asked.method in _READS]
    _check_reads(reads, sheet)
    in_order = sorted(sheet.items, key=lambda item: ORDER[item.asked.method])

    def finish(stored: Sequence[Stored], acts: Sequence[Act]) -> Result:
        rows = {row.ref: row for row in stored}
        read = {item.place: _headed(item, act) for item, act in zip(reads, acts, strict=True)}
        done = (read.get(item.place) or _done(item, rows) for item in sheet.items)
        return Result("ok", bundle("transaction-response", _answers(done, context, call)))

    return Plan(
        changes=tuple(change for item in in_order for change in item.changes),
        finish=finish,
        locks=tuple(sheet.locks.values()),
        relied_on=sheet.relied_on,
        entities=tuple(_touched(sheet.items)),
        entries=tuple(_planned(item) for item in sheet.items if item.asked.method not in _READS),
        events=tuple(event for item in in_order if item.plan for event in item.plan.events),
        reads=tuple(replace(item.call, prefer=call.prefer, strict=call.strict) for item in reads),
    )


def _items(call: Call, context: Context, env: Env) -> list[_Item]:
    def item(numbered: tuple[int, Any]) -> _Item:
        place, entry = numbered
        try:
            made = asked(place, entry, context, env)
        except UnknownType as error:
            raise Invalid(str(error), issues=error.issues) from None
        if made.call.type == "AuditEvent" and made.method not in _READS:
            raise NotSupported("An AuditEvent is sent alone, not in a transaction.", expression="Bundle.request.url")
        return _Item(made)

    items = each(enumerate(entries(call, env)), lambda numbered: numbered[0], item)
    urls = Counter(item.asked.full_url for item in items if item.asked.full_url)
    twice = next((url for url, times in urls.items() if times > 1), None)
    if twice is not None:
        raise Invalid(f"Two entries have the fullUrl {twice[:200]!r}.", expression="Bundle.entry.fullUrl")
    return items


def _identify(item: _Item, sheet: _Sheet) -> None:
    """Give the entry the resource that it is about: by its id, by what its criteria match, or a new one."""
    call = item.call
    if call.criteria is not None:
        matched = sheet.matched(item, call.resource_type, call.criteria)
        sheet.locks[matched.lock.key] = matched.lock
        item.existing = _standing(item, only(matched), sheet)
        item.ref = item.existing.ref if item.existing else _twin(item, matched.lock.key, sheet).ref
    item.ref = item.ref or _new_ref(item, sheet.env)
    if item.ref is not None and not ID.match(item.ref.id):
        raise Invalid(f"{item.ref.id[:80]!r} is no FHIR id.", expression="Bundle.request.url")
    if item.ref is not None and item.asked.full_url and item.asked.method not in ("DELETE", "PATCH"):
        sheet.links.add_entry(item.asked.full_url, str(item.ref))


def _standing(item: _Item, found: Stored | None, sheet: _Sheet) -> Stored | None:
    """Return what was found, unless the entry creates and this bundle deletes what stands in its way."""
    if found is None or item.asked.method != "POST":
        return found
    deleted = any(other.ref == found.ref for other in sheet.items if other.asked.method == "DELETE")
    return None if deleted else found


def _twin(item: _Item, key: str, sheet: _Sheet) -> _Item:
    """Return the first entry that makes what the criteria name; two that differ in the way contradict each other."""
    if item.asked.method == "PATCH":
        raise NotFound("Nothing matches the criteria; there is nothing to patch.", expression="Bundle.request.url")
    if item.asked.method == "DELETE":
        return item
    first = sheet.by_criteria.setdefault(key, item)
    if first.asked.method != item.asked.method:
        raise Invalid("Another entry has the same criteria.", expression="Bundle.request.url")
    return first


def _new_ref(item: _Item, env: Env) -> Ref | None:
    call, method = item.call, item.asked.method
    if call.id is not None:
        return Ref(call.resource_type, call.id)
    if method == "DELETE":
        return None
    wanted = item.asked.tree.get("id") if method == "PUT" else None
    return Ref(call.resource_type, wanted if isinstance(wanted, str) else env.ids.new())


def _require_distinct(items: Iterable[_Item]) -> None:
    """Refuse two entries about the same resource, as the standard asks, however each of them names it."""
    seen: set[Ref] = set()
    for item in items:
        if item.ref is None or item.asked.method not in ("PUT", "PATCH", "DELETE"):
            continue
        if item.ref in seen:
            with At(item.place):
                raise Invalid(f"Two entries are about {item.ref}.", expression="Bundle.request.url")
        seen.add(item.ref)


def _link(sheet: _Sheet) -> None:
    """Find what each conditional reference means: exactly one resource, of the store or of this bundle."""
    named = {item.place: list(conditional_references(item.asked.tree)) for item in sheet.items}
    types = sheet.env.definitions.search_params
    references = dict.fromkeys(reference for each in named.values() for reference in each)
    sheet.ask((kind, each) for each in references if (kind := each.partition("?")[0]) in types)
    kinds = {each.partition("?")[0] for each in references}
    known: set[str] = set()

    def check(item: _Item) -> None:
        if item.ref and item.ref.type in kinds and item.asked.tree and not item.stands:
            require_valid(item.ref.type, item.asked.tree, sheet.env)

    def find(item: _Item) -> None:
        for reference in named[item.place]:
            if reference not in known:
                sheet.links.add(reference, str(_referred(reference, item, sheet)))
                known.add(reference)

    sheet.each(("POST", "PUT"), check)
    sheet.each(("POST", "PUT"), find)


def _referred(reference: str, item: _Item, sheet: _Sheet) -> Ref:
    resource_type = reference.partition("?")[0]
    if resource_type not in sheet.env.definitions.search_params:
        raise Invalid(f"The reference {reference[:100]!r} names no resource type.")
    matched = sheet.matched(item, resource_type, reference)
    twin = sheet.by_criteria.get(matched.lock.key)
    if twin is not None and twin.ref is not None:
        return twin.ref
    written = {item.ref for item in sheet.items if item.ref and item.asked.method in ("PUT", "PATCH", "DELETE")}
    rows = [row for row in matched.found if row.ref not in written]
    refs = list(dict.fromkeys([*(row.ref for row in rows), *_made_here(resource_type, matched, sheet)]))
    if len(refs) > 1:
        raise MultipleMatches(f"Several resources match the conditional reference {reference[:200]!r}.")
    if not refs:
        raise Invalid(f"Nothing matches the conditional reference {reference[:200]!r}.")
    sheet.relied_on.update((row.ref, row.version) for row in rows)
    return refs[0]


def _made_here(resource_type: str, matched: Matched, sheet: _Sheet) -> list[Ref]:
    """Return what this bundle creates or updates that meets the criteria."""
    made = []
    for item in sheet.items:
        if item.ref is None or item.ref.type != resource_type or not item.asked.tree or item.stands:
            continue
        row = sheet.rows.get(item.place)
        if row is None:
            tree = {**sheet.links.rewrite(item.asked.tree, item.asked.full_url), "id": item.ref.id}
            index = indexed(item.ref, sheet.before.get(item.ref), tree, sheet.context, sheet.env)
            row = sheet.rows[item.place] = {**index, "_id": str(item.ref), "ty": resource_type}
        if matches(matched.lock.query, row):
            made.append(item.ref)
    return made


def _change(sheet: _Sheet) -> None:
    """Make the change of every entry that writes, with all references between entries resolved."""
    context, env, before = sheet.context, sheet.env, sheet.before
    made: set[Ref] = set()

    def change(item: _Item) -> None:
        method, ref = item.asked.method, item.ref
        if ref is None:
            return
        if method == "DELETE":
            call = replace(item.call, id=ref.id)
            seen = known(call, before.get(ref), context, sheet.grant)
            item.change = removal(call, seen)
            item.withheld = None if seen else withheld(before.get(ref), sheet.grant)
        elif method == "PUT":
            call = replace(item.call, id=ref.id)
            tree = _resolved(item, sheet)
            tree = {**tree, "id": ref.id} if item.call.id is None and "id" not in tree else tree
            found = None if item.unchosen else known(call, before.get(ref), context, sheet.grant)
            item.change = next_version(call, tree, found, context, env)
        elif method == "PATCH":
            call = replace(item.call, id=ref.id, body=_linked(item, sheet))
            item.change = patched(call, before.get(ref), context, sheet.grant, env)
            item.existing = before.get(ref)
        elif item.existing is None and ref not in made:
            item.change = prepare(ref, None, _resolved(item, sheet), context, env)
            made.add(ref)

    sheet.each(("DELETE", "POST", "PUT", "PATCH"), change)


def _resolved(item: _Item, sheet: _Sheet) -> dict[str, Any]:
    """Return the resource of an entry with all references between entries resolved, and none of them left."""
    tree = sheet.links.rewrite(item.asked.tree, item.asked.full_url)
    sheet.links.require_resolved(tree, item.call.resource_type)
    return tree


def _linked(item: _Item, sheet: _Sheet) -> Any:
    """Return the patch of an entry with the references in its values resolved."""
    body = item.call.body
    tree = codec.loads(body) if isinstance(body, bytes) else body
    if isinstance(tree, list):
        tree = [_referring(operation, item, sheet) for operation in tree]
    linked = sheet.links.rewrite({"patch": tree}, item.asked.full_url)["patch"]
    sheet.links.require_resolved(linked, "patch")
    return linked


def _referring(operation: Any, item: _Item, sheet: _Sheet) -> Any:
    """Return an operation of a JSON Patch with the text that it sets as a reference resolved."""
    is_one = isinstance(operation, Mapping) and str(operation.get("path")).endswith("/reference")
    if not is_one or not isinstance(operation.get("value"), str):
        return operation
    found = sheet.links.rewrite({"reference": operation["value"]}, item.asked.full_url)
    sheet.links.require_resolved(found, "patch")
    return {**operation, "value": found["reference"]}


def _operate(operations: Operations, sheet: _Sheet) -> None:
    """Make the Plan of each operation that changes something; it may not touch what another entry is about."""
    written = {change.ref for item in sheet.items for change in item.changes}

    def operate(item: _Item) -> None:
        call = given(item.call, sheet.env)
        action, does = operations[call.operation or ""]
        if action is not None:
            require_scope(sheet.context.subject, call.type, action)
        made = does(call, sheet.context, sheet.grant, sheet.env)
        if not isinstance(made, Plan) or made.reads or made.entitled or made.erased:
            raise NotSupported(f"{call.act} is sent alone, not in a transaction.", expression="Bundle.request.url")
        twice = next((change.ref for change in made.changes if change.ref in written), None)
        if twice is not None:
            raise Invalid(f"Two entries are about {twice}.", expression="Bundle.request.url")
        written.update(change.ref for change in made.changes)
        sheet.locks.update((lock.key, lock) for lock in made.locks)
        sheet.relied_on.update(made.relied_on)
        item.plan = made

    sheet.each(("OPERATION",), operate)


def _check_reads(reads: Iterable[_Item], sheet: _Sheet) -> None:
    """See that every read will have an answer: it happens after the commit, when nothing can be taken back."""
    changed = {item.change.ref: item.change for item in sheet.items if item.change}
    for item in reads:
        call = item.call
        action: Any = "read" if call.id else "search"
        with At(item.place, of_query=True):
            if call.name == "capabilities":
                continue
            if not call.operation:
                require_scope(sheet.context.subject, call.type, action)
            if call.type == "AuditEvent" or call.operation:
                continue
            if call.name == "search-type":
                _compile(call, sheet)
            elif call.name in ("read", "vread") and call.ref not in changed:
                (read if call.name == "read" else vread)(call, sheet.context, sheet.grant, sheet.env)
            elif call.name == "read" and changed[call.ref].body is None:
                raise Gone(f"{call.ref} is deleted by this transaction.")


def _compile(call: Call, sheet: _Sheet) -> None:
    """Raise what is wrong with a search."""
    request = parse(call.resource_type, call.params, sheet.env.definitions, sheet.env.limits, strict=call.strict)
    compile_query(request, sheet.context, sheet.grant, sheet.env)


def _touched(items: Iterable[_Item]) -> Iterable[Entity]:
    for item in items:
        if item.plan is not None:
            yield from item.plan.entities
        elif item.change is not None:
            yield entity(item.change)
        elif item.existing is not None:
            yield disclosed(item.existing)


def _planned(item: _Item) -> Act:
    """Return the entry's act for the event."""
    if item.plan is not None:
        first = next(iter(item.plan.entities), None)
        return Act(item.call, Result("ok", ref=first.ref if first else None, version=first.version if first else None))
    if item.withheld is not None:
        return Act(item.call, error=item.withheld)
    version = item.change.version if item.change else item.existing.version if item.existing else None
    return Act(item.call, Result("ok", ref=item.ref, version=version))


def _done(item: _Item, rows: Mapping[Ref, Stored]) -> Act:
    """Return what the entry came to: a new version, the row that was there already, or nothing to delete."""
    if item.plan is not None:
        return Act(item.call, item.plan.finish([rows[change.ref] for change in item.plan.changes], ()))
    row = rows.get(item.ref) if item.ref else None
    if item.change is not None and row is not None:
        return Act(item.call, Result(_OUTCOMES[item.change.kind], row.body, row.ref, row.version, row.updated))
    row = item.existing or row
    if item.asked.method in ("POST", "PATCH") and row is not None:
        return Act(item.call, Result("ok", row.body, row.ref, row.version, row.updated))
    return Act(item.call, Result("no-content", ref=item.ref))


def _headed(item: _Item, act: Act) -> Act:
    return _headless(act) if item.asked.method == "HEAD" else act


def _headless(act: Act) -> Act:
    return replace(act, result=replace(act.result, body=None)) if act.result else act


def _answers(acts: Iterable[Act], context: Context, call: Call) -> Iterable[Entry]:
    return (answer(act, context, call) for act in acts)
