"""Under which names a parameter's values are kept: those of other parameters, where these read the same elements already.

``Observation.combo-code`` reads what ``code`` and ``component-code`` read: nothing is indexed for it, and a question about it is a
question about the two. It is derived from the paths alone. A parameter that was added to those of R4 keeps its own name, and lends it
to none: what is stored already stays where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.definitions.model import Component, Path, SearchParam
from fhir_dmp.search.model import Params

_Atom = tuple[object, ...]

_FITTING: Mapping[str, frozenset[str]] = {
    "reference": frozenset({"Reference", "canonical", "uri"}),
    "token": frozenset({"code", "Coding", "CodeableConcept", "Identifier", "boolean", "string", "id", "uri"}),
}


class Names(Struct, frozen=True):
    """The parameters of one type: ``homes`` are the codes under which each one's values are kept."""

    params: Params
    homes: Mapping[str, tuple[str, ...]]


_known: dict[int, Names] = {}


def names_of(params: Params) -> Names:
    """Return the names of a type's parameters; they are worked out once."""
    found = _known.get(id(params))
    if found is None or found.params is not params:
        found = _known[id(params)] = Names(params, _homes(params))
    return found


def homes(params: Params, resource_type: str, param: SearchParam) -> tuple[str, ...]:
    """Return the names (``Type.param``) under which the values of ``param`` are kept."""
    return tuple(f"{resource_type}.{code}" for code in names_of(params).homes.get(param.code, (param.code,)))


def is_root(path: Path) -> bool:
    """Tell whether a composite's element is the resource itself."""
    return not path.steps


def parts(param: SearchParam) -> tuple[Component, ...]:
    """Return the parts of a composite, each with paths of its own type.

    DocumentReference.relationship has the expressions of its two parts the wrong way round in R4; they are turned here.
    """
    given = param.components
    if len(given) == 2 and not any(map(_fits, given)):
        first, second = given
        turned = (replace(first, paths=second.paths), replace(second, paths=first.paths))
        if all(map(_fits, turned)):
            return turned
    return given


def _fits(part: Component) -> bool:
    fitting = _FITTING.get(part.type)
    return fitting is None or any(path.type in fitting for path in part.paths)


def _homes(params: Params) -> dict[str, tuple[str, ...]]:
    atoms = {code: _atoms(param) for code, param in params.items()}
    found: dict[str, tuple[str, ...]] = {}
    for code in sorted(params, key=lambda each: (len(atoms[each]), each)):
        found[code] = _cover(code, params, atoms, found)
    return found


def _cover(
    code: str, params: Params, atoms: Mapping[str, frozenset[_Atom]], known: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the fewest known parameters that together read what ``code`` reads, or the parameter itself."""
    wanted = atoms[code]
    if not wanted or code.startswith("_") or params[code].added:
        return (code,)
    missing = set(wanted)
    chosen: list[str] = []
    for each in sorted(known, key=lambda other: (-len(atoms[other]), other)):
        own = params[each]
        kept = known[each] == (each,) and own.type == params[code].type and not each.startswith("_")
        if kept and not own.added and atoms[each] <= wanted and atoms[each] & missing:
            chosen.append(each)
            missing -= atoms[each]
    return (code,) if missing else tuple(chosen)


def _atoms(param: SearchParam) -> frozenset[_Atom]:
    """Return what a parameter reads, one thing for each path."""
    inner = tuple((part.type, part.paths) for part in param.components)
    return frozenset((path.steps, path.type, path.present_is_true, inner) for path in param.paths)


def same_reading(params: Params, kind: str, paths: Sequence[Path]) -> SearchParam | None:
    """Return the parameter of a type that reads these paths of the resource and the fewest others."""
    wanted = set(paths)
    found = [
        param for param in params.values() if param.type == kind and wanted <= set(param.paths) and not param.added
    ]
    return min(found, key=lambda param: len(param.paths), default=None)
