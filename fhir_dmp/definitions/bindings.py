"""Which code systems a search parameter implies: those of the bindings of what it reads. https://hl7.org/fhir/R4/terminologies.html#code."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from fhir_dmp.definitions.model import Path, SearchParam, Step, Systems, TypeDef

_BOUND = "code"


def bound_param(param: SearchParam, resource_type: str, types: Mapping[str, TypeDef]) -> SearchParam:
    """Return the parameter with the systems of each path that leads to a ``code``, in its parts too."""
    if param.type not in ("token", "composite"):
        return param
    starts = [path.steps for path in param.paths]
    parts = tuple(
        replace(part, paths=tuple(_bound(path, starts[-1], resource_type, types) for path in part.paths))
        for part in param.components
    )
    paths = tuple(_bound(path, (), resource_type, types) for path in param.paths)
    return replace(param, paths=paths, components=parts)


def _bound(path: Path, start: tuple[Step, ...], resource_type: str, types: Mapping[str, TypeDef]) -> Path:
    if path.type != _BOUND:
        return path
    return replace(path, systems=_systems((*start, *path.steps), resource_type, types))


def _systems(steps: tuple[Step, ...], kind: str, types: Mapping[str, TypeDef]) -> Systems:
    found: Systems = ()
    for step in steps:
        element = types[kind].elements[step.name]
        kind, found = element.type, element.systems
    return found
