"""FHIR batch and transaction: many calls in one body. https://hl7.org/fhir/R4/http.html#transaction.

A transaction is one Plan: deletions, creations, updates, then reads; all or nothing. A batch passes each entry through
the door. An answer's entry holds the resource only where asked for: a read, or ``Prefer: return=representation``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.model import Action
from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Act, Call, Context, Entity, Env, Grant, Interaction, Plan, Result
from fhir_dmp.errors import FhirError, Invalid, NotSupported
from fhir_dmp.fhir.bundle import Entry, bundle
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import disclosed, entity, gone, left_as_it_is
from fhir_dmp.interactions.entries import ORDER, Asked, At, answer, asked, each, entries, full, named, size_of
from fhir_dmp.interactions.known import known, not_deleted, unmatched
from fhir_dmp.interactions.links import PLACEHOLDERS, require_apart
from fhir_dmp.interactions.meeting import Meeting, Referring
from fhir_dmp.interactions.operation import given
from fhir_dmp.interactions.patch import patched
from fhir_dmp.interactions.patch_links import as_tree, patch_of
from fhir_dmp.interactions.plans import as_it_stands, as_read
from fhir_dmp.interactions.preconditions import require_unused
from fhir_dmp.interactions.read import read
from fhir_dmp.interactions.references import link, linked, resolved
from fhir_dmp.interactions.search import compile_query
from fhir_dmp.interactions.sheet import READS, RENEWING, Item, Sheet, sheet_of
from fhir_dmp.interactions.turns import in_turn
from fhir_dmp.interactions.vread import vread
from fhir_dmp.interactions.write import next_version, prepare, removal
from fhir_dmp.search.parse import parse
from fhir_dmp.store.change import Change, Stored

__all__ = ["batch", "named", "transaction"]

_MADE = 1
"""The version that a create makes."""

_OUTCOMES: Mapping[str, Any] = {"create": "created", "update": "ok", "relabel": "ok", "delete": "no-content"}


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
    names = frozenset(item.full_url for item in items if item.full_url and item.full_url.startswith(PLACEHOLDERS))
    room = env.limits.body
    for item in sorted(items, key=lambda item: ORDER[item.method]):
        try:
            with At(item.place):
                require_apart(as_tree(patch_of(item.call)) if item.method == "PATCH" else item.tree, names)
                if item.method in READS and room <= 0:
                    raise full(env)
        except FhirError as error:
            acts[item.place] = refuse(item.call, error)
            continue
        mark = f"{call.mark}/{item.place}" if call.mark else None
        act = do(replace(item.call, prefer=call.prefer, strict=call.strict, mark=mark, provenance=call.provenance))
        acts[item.place] = act = _headless(act) if item.method == "HEAD" else act
        room -= size_of(act) if item.method in READS else 0
    done = tuple(acts[place] for place in sorted(acts))
    return Result("ok", bundle("batch-response", _answers(done, context, call), bundle_id=env.ids.new()), entries=done)


Operations = Mapping[str, tuple[Action | None, Interaction]]
"""By code: the right that an operation needs on its type, and who does it."""


def transaction(operations: Operations, call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the one Plan of all entries; what is wrong with any of them refuses them all, with its place."""
    sheet = sheet_of(call, context, grant, env)
    reads = [item for item in sheet.items if item.asked.method in READS]
    with Referring(sheet.criteria):
        link(sheet)
        _change(sheet)
        _operate(operations, sheet)
        _check_reads(reads, sheet)
    in_order = sorted(sheet.items, key=lambda item: ORDER[item.asked.method])

    def finish(stored: Sequence[Stored], acts: Sequence[Act]) -> Result:
        rows = {row.ref: row for row in stored}
        read = {item.place: _headed(item, act) for item, act in zip(reads, acts, strict=True)}
        done = (read.get(item.place) or _done(item, rows) for item in sheet.items)
        return Result("ok", bundle("transaction-response", _answers(done, context, call), bundle_id=env.ids.new()))

    return Plan(
        changes=tuple(change for item in in_order for change in item.changes),
        finish=finish,
        locks=tuple(sheet.locks.values()),
        relied_on=sheet.relied_on,
        entities=tuple(dict.fromkeys(_touched(sheet.items))),
        entries=tuple(_planned(item) for item in sheet.items if item.asked.method not in READS),
        events=tuple(event for item in in_order if item.plan for event in item.plan.events),
        reads=tuple(replace(item.call, prefer=call.prefer, strict=call.strict) for item in reads),
        referred=tuple(sheet.criteria),
        met=tuple(sheet.met.values()),
    )


def _change(sheet: Sheet) -> None:
    """Make the change of every entry that writes, with all references between entries resolved.

    Those that are there already come first: which version of them stays is known when what is made refers to it.
    """
    context, env, before = sheet.context, sheet.env, sheet.before
    made: set[Ref] = set()

    def change(item: Item) -> None:
        method, ref = item.asked.method, item.ref
        if ref is None:
            item.withheld = unmatched()
            return
        if method == "DELETE":
            call = replace(item.call, id=ref.id)
            seen = known(call, before.get(ref), context, sheet.grant)
            item.change = removal(call, seen)
            item.withheld = None if item.change else not_deleted(ref, before.get(ref), seen, sheet.grant)
        elif method in ("PUT", "PATCH"):
            item.change = _renewal(sheet, item, ref)
            found = None if item.unchosen else before.get(ref)
            item.existing = item.existing or found
            _rely(item, found, sheet)
            if found is not None and (item.change is None or item.change.stays):
                sheet.links.make(str(ref), found.version)
        elif item.existing is None and ref not in made:
            item.change = prepare(ref, None, resolved(item, sheet), context, env)
            made.add(ref)

    def met(item: Item) -> None:
        with Meeting(item.ref if item.asked.method in RENEWING else None):
            change(item)

    each(in_turn(sheet, partial(_renewal, sheet)), lambda item: item.place, met)


def _renewal(sheet: Sheet, item: Item, ref: Ref) -> Change | None:
    """Return the Change that an entry makes of what is there, by the versions that are known; None where it changes nothing."""
    anew, env = item.place in sheet.anew, sheet.env
    before = sheet.before.get(ref)
    if item.asked.method == "PATCH":
        call = replace(item.call, id=ref.id, body=linked(item, sheet))
        return patched(call, before, sheet.context, sheet.grant, env, anew=anew)
    call = replace(item.call, id=ref.id)
    tree = resolved(item, sheet)
    tree = {**tree, "id": ref.id} if item.call.id is None and "id" not in tree else tree
    found = None if item.unchosen else known(call, before, sheet.context, sheet.grant)
    if item.call.criteria is not None and item.existing is None:
        require_unused(ref, found)
    return next_version(call, tree, found, sheet.context, sheet.grant, env, anew=anew)


def _rely(item: Item, found: Stored | None, sheet: Sheet) -> None:
    """Let the commit hold to the version that an entry changes nothing of: it is the entry's answer, and its condition (``If-Match``)."""
    if item.change is None and found is not None:
        sheet.relied_on[found.ref] = found.version


def _operate(operations: Operations, sheet: Sheet) -> None:
    """Make the Plan of each operation that changes something; it may not touch what another entry is about."""
    written = {item.ref for item in sheet.items if item.asked.method in RENEWING or item.change}

    def operate(item: Item) -> None:
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

    def met(item: Item) -> None:
        with Meeting(item.call.ref if item.call.id else None):
            operate(item)

    sheet.each(("OPERATION",), met)


def _check_reads(reads: Iterable[Item], sheet: Sheet) -> None:
    """See that every read will have an answer: it happens after the commit, when nothing can be taken back."""
    changed = {item.change.ref: item.change for item in sheet.items if item.change}
    for item in reads:
        call = item.call
        action: Any = "read" if call.id else "search"
        with At(item.place, of_query=True), Meeting(call.ref if call.id else None):
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
                raise gone(entity(changed[call.ref]), f"{call.ref} is deleted by this transaction.")


def _compile(call: Call, sheet: Sheet) -> None:
    """Raise what is wrong with a search."""
    request = parse(call.resource_type, call.params, sheet.env.definitions, sheet.env.limits, strict=call.strict)
    compile_query(request, sheet.context, sheet.grant, sheet.env)


def _touched(items: Iterable[Item]) -> Iterable[Entity]:
    for item in items:
        if item.plan is not None:
            yield from item.plan.entities
        elif item.change is not None:
            yield entity(item.change)
        elif item.existing is not None:
            yield left_as_it_is(item.existing) if item.asked.method in ("PUT", "PATCH") else disclosed(item.existing)


def _planned(item: Item) -> Act:
    """Return the entry's act for the event."""
    if item.plan is not None:
        first = next(iter(item.plan.entities), None)
        return Act(item.call, Result("ok", ref=first.ref if first else None, version=first.version if first else None))
    if item.withheld is not None:
        return Act(item.call, error=item.withheld)
    version = item.change.version if item.change else item.existing.version if item.existing else None
    if item.asked.method == "POST" and item.change is None and item.ref is not None:
        version = version or _MADE  # by the entry before it that has the same criteria
        return Act(as_read(item.call, item.ref, version), Result("ok", ref=item.ref, version=version))
    return Act(item.call, Result("ok", ref=item.ref, version=version))


def _done(item: Item, rows: Mapping[Ref, Stored]) -> Act:
    """Return what the entry came to: a new version, the row that was there already, or nothing to delete."""
    if item.plan is not None:
        return Act(item.call, item.plan.finish([rows[change.ref] for change in item.plan.changes], ()))
    row = rows.get(item.ref) if item.ref else None
    if item.change is not None and row is not None:
        return Act(item.call, Result(_OUTCOMES[item.change.kind], row.body, row.ref, row.version, row.updated))
    row = item.existing or row
    if item.asked.method != "DELETE" and row is not None:
        return Act(item.call, as_it_stands(row))
    return Act(item.call, Result("no-content", ref=item.ref))


def _headed(item: Item, act: Act) -> Act:
    return _headless(act) if item.asked.method == "HEAD" else act


def _headless(act: Act) -> Act:
    return replace(act, result=replace(act.result, body=None)) if act.result else act


def _answers(acts: Iterable[Act], context: Context, call: Call) -> Iterable[Entry]:
    return (answer(act, context, call) for act in acts)
