"""From the parameters of a URL to a Request. https://hl7.org/fhir/R4/search.html.

What is not understood never widens a result in silence: strict handling refuses it, lenient handling says so in the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from fhir_dmp.definitions.model import Definitions, SearchParam
from fhir_dmp.errors import Invalid, Issue, NotSupported
from fhir_dmp.fhir.reference import ID
from fhir_dmp.search import names
from fhir_dmp.search.filter import parse_filter
from fhir_dmp.search.model import (
    Chain,
    Clause,
    Compared,
    Comparison,
    Criterion,
    Has,
    Include,
    Listed,
    Request,
    Single,
    Sort,
    Total,
)
from fhir_dmp.search.types.values import split
from fhir_dmp.settings import Limits

Params = Sequence[tuple[str, str]]
_WORDS = ("_text", "_content")
_Value = str | Comparison
RENDERING = frozenset({"_format", "_pretty", "_page"})
"""Parameters that say how an answer looks or where it goes on, and nothing of what is searched."""

_DEEPEST = 5
_LONGEST = 100_000
_MOST_SORTS = 10
_ALTERNATIVES = {"date": 50, "number": 50, "quantity": 50, "composite": 50, "string": 50, "uri": 200}
_TOTALS: Mapping[str | None, Total] = {None: "cheap", "none": "none", "estimate": "accurate", "accurate": "accurate"}
"""What is counted; where a count may be estimated it is exact, since no estimate is cheaper."""

_MOST = 2000
"""How many values one parameter may have: those that are looked up one by one are cheap, ranges are not."""


class _Parts(Struct):
    """What has been read so far."""

    criteria: list[Criterion] = field(default_factory=list)
    sort: list[Sort] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    revincludes: list[Include] = field(default_factory=list)
    controls: dict[str, str] = field(default_factory=dict)
    used: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[Issue] = field(default_factory=list)


def parse(resource_type: str, params: Params, definitions: Definitions, limits: Limits, *, strict: bool) -> Request:
    """Return the Request; raise ``Invalid`` for values that do not parse and, if ``strict``, for unknown parameters."""
    parts = _Parts()
    reader = _Reader(definitions, limits)
    for name, value in params:
        if name in RENDERING:
            continue
        if len(parts.criteria) > limits.clauses:
            raise Invalid(f"A search may have {limits.clauses} criteria.")
        try:
            reader.read(resource_type, name, value, parts)
            parts.used.append((name, value))
        except NotSupported as unknown:
            if strict:
                raise
            parts.ignored.append(Issue("not-supported", str(unknown), expression=name[:64], severity="warning"))
    if len(parts.criteria) > limits.clauses:
        raise Invalid(f"A search may have {limits.clauses} criteria.")
    if parts.controls.get("_summary") == "text" and (parts.includes or parts.revincludes):
        raise Invalid("_include and _revinclude are not mixed with _summary=text.", expression="_summary")
    count, count_only = _count(parts.controls, limits)
    return Request(
        type=resource_type,
        criteria=tuple(parts.criteria),
        sort=tuple(parts.sort),
        count=count,
        count_only=count_only,
        total="accurate" if count_only else _TOTALS[parts.controls.get("_total")],
        includes=tuple(parts.includes),
        revincludes=tuple(parts.revincludes),
        used=tuple(parts.used),
        ignored=tuple(parts.ignored),
    )


def _count(controls: dict[str, str], limits: Limits) -> tuple[int, bool]:
    text = controls.get("_count")
    if text is not None and (not text.isdecimal() or not text.isascii()):
        raise Invalid(f"_count {text[:20]!r} is no number of rows.", expression="_count")
    number = limits.default_page if text is None else min(int(text[:9]), limits.page)
    return number, number == 0 or controls.get("_summary") == "count"


class _Reader:
    """Reads one parameter after the other, by the definitions."""

    def __init__(self, definitions: Definitions, limits: Limits) -> None:
        self._definitions = definitions
        self._limits = limits

    def read(self, resource_type: str, name: str, value: str, parts: _Parts) -> None:
        """Add what the parameter says; raise ``NotSupported`` if it is unknown."""
        if len(value) > _LONGEST:
            raise Invalid(f"The value of {name[:64]} is longer than {_LONGEST} characters.")
        control = name in ("_count", "_total", "_summary", "_elements")
        if value == "" or (not control and value.strip(",") == ""):
            raise NotSupported(f"{name[:64]} has no value.")
        if control:
            self._control(name, value, parts)
        elif name == "_sort":
            self._sorts(resource_type, value, parts)
        elif name.partition(":")[0] == "_include":
            parts.includes.append(self._include(name, value, resource_type))
        elif name.partition(":")[0] == "_revinclude":
            parts.revincludes.append(self._include(name, value, None))
        elif name == "_filter":
            parts.criteria.append(self._filter(resource_type, value))
        else:
            parts.criteria.append(self._criterion(resource_type, name, value, 0))

    def _control(self, name: str, value: str, parts: _Parts) -> None:
        if name == "_total" and value not in ("none", "estimate", "accurate"):
            raise Invalid(f"_total is none, estimate or accurate, not {value[:20]!r}.", expression=name)
        if parts.controls.get(name, value) != value:
            raise Invalid(f"{name} is given twice, and differs.", expression=name)
        parts.controls[name] = value

    def _criterion(self, resource_type: str, name: str, value: _Value, depth: int) -> Single:
        """Return the criterion of a name, chains and all; the value is what stands in the URL, or a comparison of a filter."""
        if depth > _DEEPEST:
            raise Invalid(f"A chain may have {_DEEPEST} steps.")
        if name.startswith("_has:"):
            return self._has(resource_type, name, value, depth)
        if isinstance(value, str) and name == "_list":
            return _listed(resource_type, value)
        head, dot, rest = name.partition(".")
        code, colon, modifier = head.partition(":")
        param = self._param(resource_type, code)
        if colon and not modifier:
            raise Invalid(f"{name[:64]!r} names no modifier after the colon.", expression=name[:64])
        if dot:
            return self._chain(resource_type, param, modifier, rest, value, depth)
        if isinstance(value, Comparison):
            if modifier:
                raise Invalid(f"A filter has operators, not modifiers: {name[:64]!r}.", expression="_filter")
            return Compared(resource_type, param, value)
        return Clause(resource_type, param, modifier or None, _alternatives(param, value))

    def _filter(self, resource_type: str, text: str) -> Criterion:
        """Return the criterion of a filter; in strict and lenient handling alike, an unknown name in it is a fault of the whole."""

        def leaf(path: str, comparison: Comparison) -> Single:
            try:
                return self._criterion(resource_type, path, comparison, 0)
            except NotSupported as unknown:
                raise Invalid(str(unknown), expression="_filter") from None

        return parse_filter(text, leaf, self._limits.clauses)

    def _chain(
        self, resource_type: str, param: SearchParam, target: str, rest: str, value: _Value, depth: int
    ) -> Chain:
        if param.type != "reference":
            raise Invalid(f"{param.code} is no reference: nothing can be chained to it.", expression=param.code)
        targets = (target,) if target else param.pointed_at
        if target and target not in param.targets:
            raise Invalid(f"{param.code} does not point at {target[:64]!r}.", expression=param.code)
        inner = tuple(found for each in targets if (found := self._try(each, rest, value, depth + 1)))
        if not inner:
            raise NotSupported(f"Nothing that {param.code} points at is searched by {rest[:64]!r}.")
        return Chain(resource_type, param, inner)

    def _try(self, target: str, rest: str, value: _Value, depth: int) -> Single | None:
        try:
            return self._criterion(target, rest, value, depth)
        except NotSupported:
            return None

    def _has(self, resource_type: str, name: str, value: _Value, depth: int) -> Has:
        parts = name.split(":", 3)
        if len(parts) != len(("_has", "type", "code", "rest")):
            raise Invalid("_has is written _has:Type:reference:parameter=value.", expression="_has")
        _, source, code, rest = parts
        if source not in self._definitions.search_params:
            raise Invalid(f"_has names no resource type: {source[:64]!r}.", expression="_has")
        param = self._param(source, code)
        if param.type != "reference" or resource_type not in param.targets:
            raise Invalid(f"{source}.{code} does not point at {resource_type}.", expression="_has")
        return Has(resource_type, source, param, self._criterion(source, rest, value, depth + 1))

    def _param(self, resource_type: str, code: str) -> SearchParam:
        param = self._definitions.search_params[resource_type].get(code)
        if param is None or (code in _WORDS and not self._limits.words):
            raise NotSupported(f"{resource_type} is not searched by {code[:64]!r}.")
        return param

    def _sorts(self, resource_type: str, value: str, parts: _Parts) -> None:
        keys = [self._sort(resource_type, key) for key in value.split(",") if key]
        codes = [each.param.code for each in (*parts.sort, *keys)]
        if len(set(codes)) < len(codes):
            raise Invalid("_sort names a parameter twice: the first decides already.", expression="_sort")
        if len(codes) > _MOST_SORTS:
            raise Invalid(f"_sort may have {_MOST_SORTS} keys.", expression="_sort")
        parts.sort += keys

    def _sort(self, resource_type: str, key: str) -> Sort:
        param = self._param(resource_type, key.removeprefix("-"))
        if param.type in ("composite", "special") or param.code in _WORDS:
            raise Invalid(f"There is no order by {param.code}.", expression="_sort")
        return Sort(param, key.startswith("-"))

    def _include(self, name: str, value: str, resource_type: str | None) -> Include:
        if name.partition(":")[2] not in ("", "iterate", "recurse"):
            raise Invalid(f"{name[:64]}: includes have the modifier :iterate and no other.", expression=name[:64])
        source, _, rest = value.partition(":")
        code, _, target = rest.partition(":")
        iterate = name.endswith((":iterate", ":recurse"))
        if value == "*":
            anywhere = iterate or resource_type is None
            sources = self._definitions.resource_types if anywhere else (str(resource_type),)
            return self._included(None if anywhere else resource_type, sources, "*", None, iterate=iterate)
        if source not in self._definitions.search_params:
            raise Invalid(f"{name} names no resource type: {value[:64]!r}.", expression=name)
        if not self._pointing(source, code):
            raise Invalid(f"{source} has no reference parameter {code[:64]!r}.", expression=name)
        if target not in ("", "*") and not self._points_at(source, code, target):
            raise Invalid(f"{source}:{code[:64]} does not point at {target[:64]!r}.", expression=name)
        return self._included(source, (source,), code, None if target in ("", "*") else target, iterate=iterate)

    def _included(
        self, source: str | None, sources: Iterable[str], code: str, target: str | None, *, iterate: bool
    ) -> Include:
        """Return the include by one reference parameter of the ``sources``, or by all for ``*``."""
        params = self._definitions.search_params
        kept: dict[str, None] = {}
        canonicals: dict[str, None] = {}
        targets: dict[str, None] = {}
        for each in sources:
            for param in self._pointing(each, code):
                homes = names.homes(params[each], each, param)
                kept.update(dict.fromkeys(homes))
                if any(path.type == "canonical" for path in param.paths):
                    canonicals.update(dict.fromkeys(homes))
                    targets.update(dict.fromkeys(param.targets if target is None else (target,)))
        urls = (f"{each}.url" for each in targets if "url" in params.get(each, ()))
        return Include(source, tuple(kept), target, iterate, tuple(canonicals), tuple(urls))

    def _points_at(self, source: str, code: str, target: str) -> bool:
        """Tell whether one of the parameters may point at the type; what names no targets may point at any."""
        if target not in self._definitions.search_params:
            return False
        return any(target in param.targets or not param.targets for param in self._pointing(source, code))

    def _pointing(self, source: str, code: str) -> list[SearchParam]:
        own = self._definitions.search_params[source].values()
        return [param for param in own if param.type == "reference" and code in ("*", param.code)]


def _listed(resource_type: str, value: str) -> Listed:
    ids = tuple(each.removeprefix("List/") for each in value.split(",") if each)
    wrong = next((each for each in ids if not ID.match(each)), None)
    if wrong is not None or not ids:
        raise NotSupported(f"_list takes ids of Lists; {value[:64]!r} is none.")
    return Listed(resource_type, ids)


def _alternatives(param: SearchParam, value: str) -> tuple[str, ...]:
    """Return the values between commas; empty ones say nothing."""
    found = tuple(each for each in split(value, ",") if each)
    most = _ALTERNATIVES.get(param.type, _MOST)
    if not found:
        raise NotSupported(f"{param.code} has no value.")
    if len(found) > most:
        raise Invalid(f"{param.code} may have {most} values.", expression=param.code)
    return found
