"""Parameters: what an operation is given and what it gives. https://hl7.org/fhir/R4/parameters.html."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec


class Parameter(Struct, frozen=True):
    """One parameter: a value of some datatype, a resource, or parts.

    ``value`` is as JSON has it; ``type`` its datatype (``uri``, ``Meta``), empty for a text that came in a URL or a form.
    """

    name: str
    value: Any = None
    type: str = ""
    resource: Mapping[str, Any] | None = None
    parts: Parameters | None = None

    @property
    def text(self) -> str:
        """The value as a query would have it: JSON where it is no primitive, nothing where it is a resource or parts."""
        if self.value is None or isinstance(self.value, str):
            return self.value or ""
        return codec.dumps(self.value).decode()


class Parameters(Struct, frozen=True):
    """The parameters of one call, in their order; a name may stand several times. The first ``by_url`` came in a URL or a form."""

    items: tuple[Parameter, ...] = ()
    by_url: int = 0

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Names and values as a query would have them."""
        return tuple((item.name, item.text) for item in self.items)

    @property
    def in_body(self) -> tuple[tuple[str, str], ...]:
        """Names and values of those that came as Parameters, as a query would have them."""
        return self.query[self.by_url :]

    def all(self, name: str) -> tuple[Parameter, ...]:
        """Return the parameters of that name."""
        return tuple(item for item in self.items if item.name == name)

    def value(self, name: str) -> Any:
        """Return the value of the first parameter of that name, or None."""
        return next((item.value for item in self.items if item.name == name), None)

    def values(self, name: str) -> tuple[Any, ...]:
        """Return the values of all parameters of that name."""
        return tuple(item.value for item in self.items if item.name == name)

    def resource(self, name: str) -> Mapping[str, Any] | None:
        """Return the resource of the first parameter of that name, or None."""
        return next((item.resource for item in self.items if item.name == name), None)


NONE_GIVEN = Parameters()


def read(tree: Mapping[str, Any]) -> Parameters:
    """Return what a Parameters resource holds; raise ``Invalid`` for what is none. Values are taken as they stand."""
    return _items(tree.get("parameter", []), "Parameters.parameter")


def _items(found: Any, path: str) -> Parameters:
    if not isinstance(found, list):
        raise Invalid(f"{path} must be a list.", expression=path)
    return Parameters(tuple(_item(item, f"{path}[{place}]") for place, item in enumerate(found)))


def _item(item: Any, path: str) -> Parameter:
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise Invalid(f"{path} must be an object with a name.", expression=path)
    values = [key for key in item if key.startswith("value")]
    if len(values) + ("resource" in item) + ("part" in item) > 1:
        raise Invalid(f"{path} has a value, a resource or parts: one of them.", expression=path)
    name = item["name"]
    if "part" in item:
        return Parameter(name, parts=_items(item["part"], f"{path}.part"))
    if "resource" in item:
        if not isinstance(item["resource"], Mapping):
            raise Invalid(f"{path}.resource must be a resource.", expression=f"{path}.resource")
        return Parameter(name, resource=item["resource"])
    if not values:
        return Parameter(name)
    kind = values[0].removeprefix("value")
    return Parameter(name, item[values[0]], kind[:1].lower() + kind[1:] if _primitive(item[values[0]]) else kind)


def _primitive(value: Any) -> bool:
    return not isinstance(value, Mapping)


def write(items: Iterable[tuple[str, str, Any]]) -> dict[str, Any]:
    """Return a Parameters resource of names, datatypes (``resource`` for a resource) and values."""
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": name, _property(kind): value} for name, kind, value in items],
    }


def _property(kind: str) -> str:
    return kind if kind in ("resource", "part") else f"value{kind[:1].upper()}{kind[1:]}"
