"""From a request to the operation that it names and to what it gives it. https://hl7.org/fhir/R4/operations.html#executing.

Which operations there are, where they are called and what they take stands in the definitions; nothing is read that they do
not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec.structs import replace

from fhir_dmp.call import MOST_ASKED, Call, Env, Params
from fhir_dmp.definitions.model import Definitions, OperationDef, ParameterDef
from fhir_dmp.errors import Invalid, MethodNotAllowed, NotSupported, TooLong
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import Parameter, Parameters, read
from fhir_dmp.validation.primitives import CHECKS

RENDERING = frozenset({"_format", "_pretty", "_summary", "_elements", "_page"})
"""Parameters of a URL that say how an answer looks, or where it goes on; they are not the operation's."""

_OF_VERSIONS = ("meta",)
"""Operations that are called of one version of a resource as well, which no OperationDefinition tells; none changes anything: versions stay."""

_RESOURCES = ("Resource", "Any")
_NUMBERS = ("integer", "positiveInt", "unsignedInt")
_FLAGS = {"true": True, "false": False}


def given(call: Call, env: Env) -> Call:
    """Return the call with its parameters read and held to the operation's definition.

    Raises ``NotSupported`` where no such operation is called, ``MethodNotAllowed`` for a GET that would change something or
    could not carry what is needed, ``Invalid`` for parameters that are not as defined, ``TooLong`` for more than one may ask.
    """
    operation = find(call, env.definitions)
    if call.body is None and operation.affects_state:
        raise MethodNotAllowed(f"${operation.code} changes something: call it by POST.", headers=(("Allow", "POST"),))
    wanted = [each for each in operation.parameters if each.use == "in"]
    by_url = _of_url(call.params, wanted)
    sent = [*by_url, *_of_body(call, wanted, env)]
    known = {each.name: each for each in wanted}
    unknown = next((each.name for each in sent if each.name not in known), None)
    if unknown is not None:
        names = ", ".join(known) or "no parameters"
        raise NotSupported(f"${operation.code} takes {names}; not {unknown[:64]!r}.", expression=unknown[:64])
    read_items = tuple(_typed(each, known[each.name]) for each in sent)
    for each in wanted:
        _require_times(each, sum(item.name == each.name for item in read_items))
    parameters = Parameters(read_items, len(by_url))
    if sum(len(value) for _, value in parameters.in_body) > MOST_ASKED:
        raise TooLong(f"The values of Parameters may have {MOST_ASKED} characters.", expression="Parameters")
    return replace(call, parameters=parameters)


def find(call: Call, definitions: Definitions) -> OperationDef:
    """Return the operation that the call names at its level and type."""
    level: Literal["system", "type", "instance"] = "instance" if call.id else "type" if call.type else "system"
    there = call.version is None or call.operation in _OF_VERSIONS
    for each in definitions.operations:
        if (
            each.code == call.operation
            and level in each.levels
            and (call.type is None or each.is_for(call.type))
            and there
        ):
            return each
    place = {"system": "the server", "type": f"{call.type}", "instance": f"one {call.type}"}[level]
    place = place if call.version is None else f"a version of {place}"
    raise NotSupported(f"The operation ${str(call.operation)[:64]} is not one of {place}.")


def _of_url(params: Params, wanted: Iterable[ParameterDef]) -> list[Parameter]:
    """Return what a query or a form holds; what is no primitive cannot come that way."""
    complex_names = {each.name for each in wanted if each.type not in CHECKS}
    found = [Parameter(name, value) for name, value in params if name not in RENDERING]
    for each in found:
        if each.name in complex_names:
            raise Invalid(f"{each.name} is no primitive: send Parameters by POST.", expression=each.name)
    return found


def _of_body(call: Call, wanted: Iterable[ParameterDef], env: Env) -> list[Parameter]:
    """Return what a Parameters resource holds; any other resource is the one parameter that is a resource."""
    if not call.body:
        return []
    tree = codec.loads_object(call.body) if isinstance(call.body, bytes) else call.body
    if tree.get("resourceType") == "Parameters":
        items = read(tree).items
        _require_valid(tree, env)
        return list(items)
    resources = [each for each in wanted if each.type in _RESOURCES or each.type in env.definitions.search_params]
    if len(resources) != 1:
        raise Invalid(f"${call.operation} takes a Parameters resource.", expression="resourceType")
    return [Parameter(resources[0].name, resource=tree)]


def _require_valid(tree: Mapping[str, Any], env: Env) -> None:
    """Hold the values to their datatypes; a resource within is the operation's own to judge."""
    bare = {**tree, "parameter": [_bare(item) for item in tree["parameter"]]} if "parameter" in tree else tree
    issues = tuple(issue for issue in env.validate("Parameters", bare) if issue.severity in ("error", "fatal"))
    if issues:
        raise Invalid(issues[0].text, issues=issues)


def _bare(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if "resource" in item:
        return {"name": item["name"], "valueBoolean": True}
    return {**item, "part": [_bare(part) for part in item["part"]]} if "part" in item else item


def _typed(item: Parameter, wanted: ParameterDef) -> Parameter:
    """Return the parameter with its value as JSON has it for the defined type; raise ``Invalid`` for any other."""
    name = wanted.name
    if not wanted.type:
        if item.parts is None:
            raise Invalid(f"{name} consists of parts.", expression=name)
        return item
    check = CHECKS.get(wanted.type)
    if check is None:
        fits = item.resource is not None if item.value is None else item.type == wanted.type
        if not fits or (item.resource is not None and not _is_one(item.resource, wanted.type)):
            raise Invalid(f"{name} must be a {wanted.type}.", expression=name)
        return item
    value = _from_text(item.value, wanted.type) if not item.type and isinstance(item.value, str) else item.value
    wrong = check(value)
    if wrong:
        raise Invalid(f"{name} {wrong}.", expression=name)
    return replace(item, value=value, type=wanted.type)


def _is_one(resource: Mapping[str, Any], kind: str) -> bool:
    return kind in _RESOURCES or resource.get("resourceType") == kind


def _from_text(text: str, kind: str) -> Any:
    if kind == "boolean":
        return _FLAGS.get(text, text)
    if kind in _NUMBERS and text.removeprefix("-").isdecimal() and text.isascii():
        return int(text[:20])
    if kind in ("instant", "dateTime"):
        return text.replace(" ", "+")
    return text


def _require_times(wanted: ParameterDef, times: int) -> None:
    if times < wanted.minimum:
        raise Invalid(f"{wanted.name} is needed.", expression=wanted.name)
    if wanted.maximum is not None and times > wanted.maximum:
        raise Invalid(f"{wanted.name} is given {wanted.maximum} times at most.", expression=wanted.name)
