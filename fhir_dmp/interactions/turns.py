"""In which turn the entries of a transaction are done: what others refer to a version of comes before them.

https://hl7.org/fhir/R4/http.html#trules. An update that changes nothing makes no version, so which version a reference leads to is known once
that entry has been done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter

from fhir_dmp.errors import FhirError
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.sheet import Item, Sheet
from fhir_dmp.store.change import Change

Renewal = Callable[[Item, Ref], Change | None]
"""From an entry that updates or patches, and what it is about, to its Change by the versions that are known; None where it changes nothing."""


def in_turn(sheet: Sheet, renewal: Renewal) -> Iterator[Item]:
    """Yield the entries that write: those that delete, that renew, that create. Each is to be done before the next is asked for."""
    yield from _of("DELETE", sheet)
    renewing = [item for method in ("PUT", "PATCH") for item in _of(method, sheet)]
    named = _named(renewing, sheet)
    yield from _targets_first(renewing, named, sheet, renewal) if named else renewing
    yield from _of("POST", sheet)


def _of(method: str, sheet: Sheet) -> Iterator[Item]:
    return (item for item in sheet.items if item.asked.method == method)


def _named(renewing: Sequence[Item], sheet: Sheet) -> Mapping[int, set[int]]:
    """Return by the place of an entry the places of those that it refers to a version of, where that version is not sure yet."""
    places = {str(item.ref): item.place for item in renewing if _may_stand(item, sheet)} if sheet.versions else {}
    named: dict[int, set[int]] = {}
    for item in renewing:
        for reference in sheet.versions.get(item.place, ()):
            target = sheet.links.of_version(reference, item.asked.full_url)
            if target in places:
                named.setdefault(item.place, set()).add(places[target])
    return named


def _may_stand(item: Item, sheet: Sheet) -> bool:
    before = sheet.before.get(item.ref) if item.ref is not None else None
    return before is not None and not before.deleted


def _targets_first(
    renewing: Sequence[Item], named: Mapping[int, set[int]], sheet: Sheet, renewal: Renewal
) -> Iterator[Item]:
    """Yield what is referred to before what refers to it; then what does so in circles, or waits for these."""
    left = {item.place: item for item in renewing}
    sorter = TopologicalSorter({place: named.get(place, set()) for place in left})
    with suppress(CycleError):  # it goes on to give what is in no circle
        sorter.prepare()
    while ready := sorter.get_ready():
        yield from [left.pop(place) for place in ready]
        sorter.done(*ready)
    _settle(list(left.values()), named, sheet, renewal)
    yield from left.values()


def _settle(circling: Sequence[Item], named: Mapping[int, set[int]], sheet: Sheet, renewal: Renewal) -> None:
    """Find which of the entries make a version (``Sheet.anew``): those that would if no other did, and who refers to such a one.

    That makes the fewest versions with which every reference is right. What an entry holds while all stand, refers to those that stand:
    it differs as soon as one of them does not.
    """
    naming: dict[int, list[Item]] = defaultdict(list)
    for item in circling:
        _let(item, 0, sheet)
        for place in named.get(item.place, ()):
            naming[place].append(item)
    changing = [item for item in circling if _changes(item, renewal)]
    while changing:
        item = changing.pop()
        if item.place not in sheet.anew:
            sheet.anew.add(item.place)
            _let(item, 1, sheet)
            changing.extend(naming[item.place])


def _let(item: Item, more: int, sheet: Sheet) -> None:
    """Let references lead to the version that is there, or to so many more."""
    if item.ref is not None and _may_stand(item, sheet):
        sheet.links.make(str(item.ref), sheet.before[item.ref].version + more)


def _changes(item: Item, renewal: Renewal) -> bool:
    """Tell whether the entry makes a version; one that is wrong is told so when it is done."""
    try:
        change = renewal(item, item.ref) if item.ref is not None else None
    except FhirError:
        return True
    return change is not None and not change.stays
