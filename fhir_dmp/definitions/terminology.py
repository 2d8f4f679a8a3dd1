"""The code systems and value sets that stand in the definitions. https://hl7.org/fhir/R4/terminologies.html.

``scripts/build_definitions.py`` wrote them; they are read when they are first asked for.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct


class Terminology(Struct, frozen=True):
    """``systems`` give each code of a whole code system its parents; ``sets`` the ``compose`` of each value set."""

    systems: Mapping[str, Mapping[str, tuple[str, ...]]]
    sets: Mapping[str, Mapping[str, Any]]


@cache
def load_terminology() -> Terminology:
    """Return all code systems and value sets by canonical URL; they are read once for each process."""
    packed = files("fhir_dmp.definitions").joinpath("terminology.json.gz").read_bytes()
    tables = msgspec.json.decode(gzip.decompress(packed))
    systems = {
        url: {code: tuple(parents) for code, parents in codes.items()} for url, codes in tables["systems"].items()
    }
    return Terminology(systems, tables["sets"])
