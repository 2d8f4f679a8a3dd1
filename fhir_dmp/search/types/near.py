"""Near: places within a distance of a point. https://hl7.org/fhir/R4/location.html#positional.

A position is kept as one range whose ends are latitude and longitude, so that the index of ranges finds a box around the point; the
distance over the sphere is then held exactly, within the query.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from math import asin, cos, degrees, pi, radians, sin
from typing import Any

from fhir_dmp.definitions.units import canonical
from fhir_dmp.errors import Invalid
from fhir_dmp.search.types.number import bounded
from fhir_dmp.search.types.values import split, unescape
from fhir_dmp.store.query import EARTH, Near, Query, Range, both, either

DEFAULT_KM = Decimal(5)
"""How far is near, where the question does not say."""

_EDGE = Decimal("0.000001")


def indexer(name: str) -> Callable[[Any], list[dict[str, Any]]]:
    """Return the function from a Location's position to its place for the parameter ``name``."""

    def places(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, dict):
            return []
        latitude, longitude = bounded(value.get("latitude")), bounded(value.get("longitude"))
        if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
            return []
        return [{"k": name, "lo": latitude, "hi": longitude}]

    return places


def compile_value(name: str, value: str) -> Query:
    """Return the query for ``latitude|longitude|distance|units``."""
    latitude, longitude, metres = _asked(name, value)
    boxes = [
        Range(name, _half_open(*south_north), _half_open(*west_east))
        for south_north, west_east in _boxes(latitude, longitude, metres)
    ]
    return both(either(boxes), Near(name, float(latitude), float(longitude), float(metres)))


def _asked(name: str, value: str) -> tuple[Decimal, Decimal, Decimal]:
    parts = [unescape(part).strip() for part in split(value, "|")]
    parts += [""] * (4 - len(parts))
    latitude, longitude, distance, unit = parts[:4]
    try:
        point = Decimal(latitude), Decimal(longitude), Decimal(distance) if distance else DEFAULT_KM
    except InvalidOperation:
        point = (Decimal("NaN"),) * 3
    length = canonical(unit or "km")
    if len(parts) > 4 or not all(each.is_finite() for each in point) or len(value) > 200:
        raise Invalid(f"{name} is written latitude|longitude|distance|units.", expression=name)
    if abs(point[0]) > 90 or abs(point[1]) > 180 or not 0 <= point[2] < Decimal("1e9"):
        raise Invalid(f"{name}: {value[:60]!r} is no place on Earth.", expression=name)
    if length is None or length.base != "m":
        raise Invalid(f"{name}: {unit[:20]!r} is no unit of length.", expression=name)
    return point[0], point[1], point[2] * length.factor.numerator / length.factor.denominator


_Span = tuple[float, float]


def _boxes(latitude: Decimal, longitude: Decimal, metres: Decimal) -> list[tuple[_Span, _Span]]:
    """Return spans of latitude and longitude that hold all places within the distance; two where it crosses 180 degrees."""
    angle = min(float(metres) / EARTH, pi)
    south, north = float(latitude) - degrees(angle), float(latitude) + degrees(angle)
    if south <= -90 or north >= 90:
        return [((max(south, -90), min(north, 90)), (-180, 180))]
    reach = degrees(asin(min(1.0, sin(angle) / cos(radians(float(latitude))))))
    west, east = float(longitude) - reach, float(longitude) + reach
    spans = [(max(west, -180.0), min(east, 180.0))]
    if west < -180:
        spans.append((west + 360, 180))
    if east > 180:
        spans.append((-180, east - 360))
    return [((south, north), span) for span in spans]


def _half_open(low: float, high: float) -> tuple[Decimal, Decimal]:
    return Decimal(f"{low:.9f}") - _EDGE, Decimal(f"{high:.9f}") + _EDGE
