"""Search restrictions of SMART scopes: what a resource has to meet besides its type.

https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#finer-grained-resource-constraints-using-search-parameters
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import Invalid
from fhir_dmp.search.compile import compile_criteria
from fhir_dmp.search.model import Clause, Criterion, Setting
from fhir_dmp.search.parse import parse
from fhir_dmp.settings import Limits
from fhir_dmp.store.query import NOTHING, Eq, Query

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build_restrict(
    definitions: Definitions, base_url: str, limits: Limits
) -> Callable[[str, Sequence[tuple[str, str]]], Query]:
    """Return the function that makes the query of a type and the restriction of a scope on it.

    It raises a ``FhirError`` for a type of no name and for whatever of the restriction is not a plain criterion of that type: what is
    not understood must not be left out, and what looks at other rows would have to be asked for each row anew.
    """
    setting = Setting(
        definitions,
        base_url,
        _EPOCH,
        limits,
        lookup=lambda *_: (),
        tokens=lambda *_: (),
        bodies=lambda *_: (),
        allowed=lambda _: NOTHING,
        form=0,  # past versions are judged by it too, in whatever form they were indexed
    )

    def restrict(resource_type: str, restriction: Sequence[tuple[str, str]]) -> Query:
        if resource_type not in definitions.search_params:
            raise Invalid(f"{resource_type[:64]!r} is no resource type of FHIR R4.")
        if not restriction:
            return Eq("ty", resource_type)
        request = parse(resource_type, restriction, definitions, limits, strict=True)
        if len(request.criteria) != len(restriction) or not all(map(_is_plain, request.criteria)):
            raise Invalid("A restriction is made of plain search parameters of the type.")
        return compile_criteria(resource_type, request.criteria, setting)

    return restrict


def _is_plain(criterion: Criterion) -> bool:
    """Tell whether the criterion means the same for one row, at any time: no hop, no nearness to the present."""
    if not isinstance(criterion, Clause):
        return False
    return criterion.param.type != "date" or not any(value.startswith("ap") for value in criterion.values)
