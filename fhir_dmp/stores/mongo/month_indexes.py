"""The indexes of a month of the log: made when it is first used, and held to what they are made as.

Somebody with all rights on the database may hide one, or drop it and make another of its name or key that has some rows alone (partial,
sparse). What the database plans by itself it never plans by such a one; who names it (``blocks``) is told of what it has, and of the others
nothing. https://www.mongodb.com/docs/manual/core/index-partial/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from pymongo import IndexModel
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fhir_dmp.stores.mongo.documents import AuditRow
from fhir_dmp.stores.mongo.prepare import NOT_MADE, indexes_of

_BESIDE = "dmp_"
"""Begins the name of one whose own name is another's."""

_SAYS_NOTHING = frozenset({"v", "key", "name", "ns", "background", "storageEngine"})
"""What of an index does not change what is found by it."""

_Document = dict[str, Any]
_log = structlog.get_logger(__name__)


_CHANGES = frozenset(("collation", "viewOn", "capped", "timeseries", "expireAfterSeconds", "validator"))
"""What a collection may be made with that changes what is found in it, what is kept, or what is taken."""


class Odd(NamedTuple):
    """An index of a month that is not the log's own though it has the name of one, and in what it differs; in nothing: there is none."""

    month: str
    name: str
    differs: tuple[str, ...]

    def __str__(self) -> str:
        if self.differs:
            return f"index {self.name} of {self.month} is not the log's own: it differs in {', '.join(self.differs)}"
        return f"{self.month} lacks the index {self.name}"


def make_month(log: Database[_Document], name: str) -> None:
    """Make the collection of a month with its indexes; those that cannot be made are told to the operator, and rows are written without.

    Where the name of one is another's, it is made beside that. No row is lost without an index, and no answer may leave without its row.
    """
    try:
        log[name].create_indexes(indexes_of(AuditRow))
    except OperationFailure as refusal:
        if refusal.code not in NOT_MADE:
            raise
        _make_each(log[name])
    _tell_operator(log[name])


def fit_indexes(month: Collection[_Document]) -> dict[str, str]:
    """Return the names of indexes that are as the log's own, by the name that each of those is made with."""
    return _fit(list(month.list_indexes()))


def _fit(standing: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        own.document["name"]: each["name"]
        for own in indexes_of(AuditRow)
        for each in standing
        if not _differences(own, each)
    }


def odd_indexes(month: Collection[_Document]) -> list[Odd]:
    """Return what is odd: names of the log's own that are another's, and those of which there is none under any name."""
    listed = list(month.list_indexes())
    standing, fit = {each["name"]: each for each in listed}, _fit(listed)
    odd = []
    for own in indexes_of(AuditRow):
        name = own.document["name"]
        differs = _differences(own, standing[name]) if name in standing else []
        if differs or name not in fit:
            odd.append(Odd(month.name, name, tuple(differs)))
    return odd


def odd_options(month: Collection[_Document]) -> list[str]:
    """Return what the month is made with that the log's own are not."""
    return sorted(_CHANGES & month.options().keys())


def _make_each(month: Collection[_Document]) -> None:
    fit = fit_indexes(month)
    for own in indexes_of(AuditRow):
        name = own.document["name"]
        if name not in fit and not _made(month, own):
            _made(month, IndexModel(own.document["key"].items(), **_options(own.document), name=_BESIDE + name))


def _made(month: Collection[_Document], index: IndexModel) -> bool:
    try:
        month.create_indexes([index])
    except OperationFailure as refusal:
        if refusal.code not in NOT_MADE:
            raise
        return False
    return True


def _tell_operator(month: Collection[_Document]) -> None:
    """Say what of the month's indexes is not as it should be, and what mends it."""
    place, own = f'db.getSiblingDB("{month.database.name}").{month.name}', {}
    for each in indexes_of(AuditRow):
        how = json.dumps(each.document["key"]), json.dumps(_options(each.document))
        own[each.document["name"]] = f"createIndex({', '.join(how)})"
    fit = fit_indexes(month)
    for odd in odd_indexes(month):
        away = [odd.name, *([fit[odd.name]] if odd.name in fit else [])] if odd.differs else []
        steps = [*(f'dropIndex("{name}")' for name in away), own[odd.name]]
        _log.error("log-index", what=str(odd), mend="; ".join(f"{place}.{step}" for step in steps))


def _differences(own: IndexModel, standing: Mapping[str, Any]) -> list[str]:
    """Return in which words an index that stands there differs from one of ours."""
    wanted, found = _options(own.document), _options(standing)
    keys = [] if list(own.document["key"].items()) == list(standing["key"].items()) else ["key"]
    return keys + sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _options(index: Mapping[str, Any]) -> _Document:
    return {name: value for name, value in index.items() if name not in _SAYS_NOTHING and value is not False}
