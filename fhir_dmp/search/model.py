"""What a search asks, taken apart but not yet compiled. https://hl7.org/fhir/R4/search.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from fhir_dmp.definitions.model import Definitions, SearchParam
from fhir_dmp.errors import Issue
from fhir_dmp.search.form import FORM
from fhir_dmp.settings import Limits
from fhir_dmp.store.query import Query

Total = Literal["none", "cheap", "accurate"]
"""Whether rows are counted: never, where it costs nothing, or always."""

Params = Mapping[str, SearchParam]
"""The parameters of one type, by code."""


class Clause(Struct, frozen=True):
    """One parameter on one type: any of ``values`` is enough. ``values`` are as sent, still escaped."""

    type: str
    param: SearchParam
    modifier: str | None
    values: tuple[str, ...]


class Chain(Struct, frozen=True):
    """``subject:Patient.name=…``: rows whose reference points at a row of ``target`` that meets ``inner``."""

    type: str
    param: SearchParam
    inner: tuple[Single, ...]


class Has(Struct, frozen=True):
    """``_has:Observation:patient:code=…``: rows that a row of ``source`` which meets ``inner`` points at."""

    type: str
    source: str
    param: SearchParam
    inner: Single


class Listed(Struct, frozen=True):
    """``_list=…``: rows that one of the Lists names as an item."""

    type: str
    ids: tuple[str, ...]


class Comparison(Struct, frozen=True):
    """An operator of ``_filter`` and its value, as it is meant."""

    operator: str
    value: str


class Compared(Struct, frozen=True):
    """One comparison of a ``_filter`` with one parameter on one type."""

    type: str
    param: SearchParam
    comparison: Comparison


class EachOf(Struct, frozen=True):
    """All of the criteria are met."""

    parts: tuple[Criterion, ...]


class OneOf(Struct, frozen=True):
    """At least one of the criteria is met."""

    parts: tuple[Criterion, ...]


class NoneOf(Struct, frozen=True):
    """The criterion is not met."""

    part: Criterion


Single = Clause | Chain | Has | Listed | Compared
"""A criterion on one type."""

Criterion = Single | EachOf | OneOf | NoneOf


class Sort(Struct, frozen=True):
    """One ``_sort`` key."""

    param: SearchParam
    descending: bool


class Include(Struct, frozen=True):
    """``_include`` or ``_revinclude``: from ``source`` by the references kept under ``names`` to ``target``; None: any type.

    Those under ``canonicals`` may be canonical URLs: of what has its own under one of ``urls``.
    """

    source: str | None
    names: tuple[str, ...]
    target: str | None
    iterate: bool
    canonicals: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()


class Request(Struct, frozen=True):
    """A whole search. ``used`` are the parameters that were understood, ``ignored`` what the caller is told of the others."""

    type: str
    criteria: tuple[Criterion, ...]
    sort: tuple[Sort, ...]
    count: int
    count_only: bool
    total: Total
    includes: tuple[Include, ...]
    revincludes: tuple[Include, ...]
    used: tuple[tuple[str, str], ...]
    ignored: tuple[Issue, ...]


class Setting(Struct, frozen=True):
    """What compiling needs beside the request.

    ``lookup`` is ``Store.keys``: query, prefix, limit; ``tokens`` is ``Store.tokens``. ``bodies`` gives up to so many bodies that a query
    finds. ``allowed`` narrows each hop of a chain by the caller's rules. ``form`` is that in which all rows are indexed (``search.form``).
    """

    definitions: Definitions
    base_url: str
    now: datetime
    limits: Limits
    lookup: Callable[[Query, str | None, int], tuple[str, ...]]
    tokens: Callable[[Query, tuple[str, ...], int], tuple[tuple[str, ...], ...]]
    bodies: Callable[[Query, int], tuple[bytes, ...]]
    allowed: Callable[[str], Query]
    form: int = FORM

    def params(self, resource_type: str) -> Params:
        """Return the search parameters of a type by their codes."""
        return self.definitions.search_params[resource_type]
