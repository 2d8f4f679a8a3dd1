"""From what a Consent says to rules for who asks. https://hl7.org/fhir/R4/consent-definitions.html#Consent.provision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from fhir_dmp.access.model import Rule
from fhir_dmp.access.policy import Actors, Data, Entry, Period, Provision
from fhir_dmp.clock import micros_of, moment
from fhir_dmp.store.query import And, Between, Eq, In, Lasts, Not, Or, Query, both, either, prefix

CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_NORMAL = f"{CONFIDENTIALITY}|N"


def consent_rules(
    entry: Entry, names: frozenset[str], purpose: str, now: datetime, *, named_only: bool = False
) -> Iterator[Rule]:
    """Yield the rules that a Consent makes for who has these names and asks for this purpose (``system|code``).

    ``named_only`` leaves out what concerns everybody: it is not meant for those to whom a record opens by name alone.
    """
    root = entry.provision
    if root is None:
        return
    told = [(place, each) for place, each in enumerate(root.exceptions, start=1)]
    met = [(place, each) for place, each in told if _applies(each, names, purpose, now, named_only=named_only)]
    whole = _applies(root, names, purpose, now, named_only=named_only)
    aside = [_about_data(each) for _, each in met if each.permit is not root.permit]
    reason = f"{entry.name}, provision"
    if whole:
        where = both(_about_data(root), *(Not(query) for query in aside))
        yield Rule(root.permit, where, reason, record=root.permit or where == And(()))
    if root.permit:
        for place, each in met:
            if each.permit:
                where = both(_about_data(each), *(Not(query) for query in aside))
                yield Rule(permit=True, where=where, reason=f"{reason} {place}", record=True)


def untold_rules(
    entry: Entry, names: frozenset[str], purpose: str, now: datetime, *, named_only: bool = False
) -> Iterator[Rule]:
    """Yield the refusal of a Consent to those from whom it withholds something, and of one that names items to whom it opens none.

    It would tell that they are there: to those from whom it hides them, and to those from whom a label or another Consent does. That it does not
    hold yet or any more changes nothing of that, and nobody is told of one that said something else of rows once (``untold``).
    """
    told = _provisions(entry)
    if not told:
        return
    met = [each for each in told if _applies(each, names, purpose, now, named_only=named_only)]
    at_any_time = [each for each in told if _applies(each, names, purpose, None, named_only=named_only)]
    withholds = any(not each.permit and each.data != Data() for each in at_any_time)
    names_items = any(each.data.instances for each in told)
    if entry.untold or withholds or (names_items and not any(each.permit and each.data.instances for each in met)):
        yield Rule(permit=False, where=_themselves((entry.source,)), reason=f"{entry.name}: it tells what it withholds")


def ended_rules(entries: Iterable[Entry]) -> Iterator[Rule]:
    """Yield the refusal, one for all, of the Consents that spoke of single rows once (``untold``) and say nothing any more.

    A record remembers each of them for good.
    """
    ended = tuple(entry.source for entry in entries if entry.untold and entry.provision is None)
    if ended:
        yield Rule(permit=False, where=_themselves(ended), reason="Consents that ended: they tell what they withheld")


@lru_cache(maxsize=1024)
def _themselves(sources: tuple[str, ...]) -> Query:
    """Return the query for Consents and their versions; searches of other types have nothing of it to ask."""
    return both(Eq("ty", "Consent"), Or((In("_id", sources), *(prefix("_id", f"{source}/") for source in sources))))


def _provisions(entry: Entry) -> tuple[Provision, ...]:
    return (entry.provision, *entry.provision.exceptions) if entry.provision else ()


def said_other(known: Entry | None, made: Entry | None) -> bool:
    """Tell whether a Consent is ``untold`` from now on: before it spoke of single rows, and said other than it does now."""
    if (known is not None and known.untold) or (made is not None and made.untold):
        return True
    before, now = (_spoken(each) for each in (known, made))
    return any(data != Data() for _, _, data in before) and any(each not in now for each in before)


def _spoken(entry: Entry | None) -> list[tuple[Actors, bool, Data]]:
    """Return what a Consent says of whom and of what, whenever it holds."""
    return [(each.actors, each.permit, each.data) for each in _provisions(entry)] if entry else []


def _applies(
    provision: Provision, names: frozenset[str], purpose: str, now: datetime | None, *, named_only: bool
) -> bool:
    """Tell whether a provision is about who has these names and asks for the purpose, at the moment or (None) at any."""
    if now is not None and not provision.period.holds(micros_of(now)):
        return False
    if provision.purposes and purpose not in provision.purposes:
        return False
    return meets(provision.actors, names) if provision.actors else not named_only


def meets(actors: Actors, names: frozenset[str]) -> bool:
    """Tell whether one of the alternatives is all among the names."""
    return any(names.issuperset(actor) for actor in actors)


def _about_data(provision: Provision) -> Query:
    """Return the query for the rows that a provision is about."""
    data = provision.data
    parts: list[Query] = []
    if data.named:
        parts.append(either(list(_named(data))))
    if data.labels:
        parts.append(_labelled(data.labels))
    if data.period is not None:
        parts.append(_dated(data.period, begun=provision.permit))
    return both(*parts) if parts else And(())


def _named(data: Data) -> Iterator[Query]:
    for instance in data.instances:
        yield Eq("_id", instance)
        yield prefix("_id", f"{instance}/")  # its superseded versions
    if data.tokens:
        yield In("t", data.tokens)
    if data.authors:
        yield In("au", data.authors)


def _labelled(labels: Sequence[str]) -> Query:
    """Return the query for rows with one of the labels; a row without any level of confidentiality is normal."""
    found: Query = In("sec", tuple(labels))
    return Or((found, Not(prefix("sec", f"{CONFIDENTIALITY}|")))) if _NORMAL in labels else found


def _dated(period: Period, *, begun: bool) -> Query:
    """Return the query for what was in the period: by its main date, or by its deposit if it has none.

    What opens, opens what has ``begun`` in it; what withholds, withholds whatever has some time in common with it.
    """
    low, high = period.start, period.end
    first, last = (None if end is None else moment(end) for end in (low, high))
    deposited = Between("co", first, last)
    within: list[Query] = [Between("ds", low, high), And((Not(Between("ds")), deposited))]
    if low is not None and not begun:
        within.append(And((Between("ds", None, low), Lasts(low))))
    return Or(tuple(within))
