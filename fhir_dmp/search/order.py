"""``_sort`` as keys that the store can order by. https://hl7.org/fhir/R4/search.html#sort."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import NotSupported
from fhir_dmp.search import names
from fhir_dmp.search.extract import main_date
from fhir_dmp.search.model import Request, Sort
from fhir_dmp.search.pairs import patient_of
from fhir_dmp.search.types import date
from fhir_dmp.store.port import Order
from fhir_dmp.store.query import EVERYTHING, Eq, Query, both, prefix

_FIELDS = {"_id": "_id", "_lastUpdated": "lu"}


def orders(request: Request, definitions: Definitions) -> tuple[Order, ...]:
    """Return the sort keys of a request; creation comes last, and alone if nothing else was asked.

    Nothing comes behind a key that no two rows share: an index gives the order by that key, and not by another one beside it. Of rows of one
    main date the first comes first where the latest date does, and last where it comes last: one index, read either way, gives both.
    """
    main = main_date(definitions.search_params[request.type])
    keys = [_order(request.type, sort, main.code if main else None, definitions) for sort in request.sort]
    unique = next((place for place, key in enumerate(keys) if key.field in _FIELDS.values()), None)
    return (*keys, Order("co", keys == [Order("ds")])) if unique is None else tuple(keys[: unique + 1])


def beside(resource_type: str, order: Sequence[Order], criteria: Query) -> Query:
    """Return what holds of all rows of a type that meet the criteria, and is asked beside them so that an index has those rows in the order."""
    match order[0]:
        case Order("lu"):
            return Eq("ty", resource_type)
        case Order("_id"):
            return prefix("_id", f"{resource_type}/")
        case Order("ds") if patient := patient_of(resource_type, criteria):
            return both(Eq("pt", patient), Eq("ty", resource_type))
        case Order("ds") if resource_type == "Patient":
            return Eq("ty", resource_type)
        case _:
            return EVERYTHING


def _order(resource_type: str, sort: Sort, main: str | None, definitions: Definitions) -> Order:
    code = sort.param.code
    if code in _FIELDS:
        return Order(_FIELDS[code], sort.descending)
    if code == main:
        return Order("ds", sort.descending)
    kept = names.homes(definitions.search_params[resource_type], resource_type, sort.param)
    if len(kept) > 1:
        raise NotSupported(f"There is no order by {code}: sort by one of {', '.join(kept)}.", expression="_sort")
    return Order(f"r:{kept[0]}" if sort.param.type in date.RANGES else f"t:{kept[0]}=", sort.descending)
