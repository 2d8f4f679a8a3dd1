"""The form in which rows are indexed, and what may be asked of rows of an older one.

A database remembers the form that all of its rows have; ``fhir-dmp reindex --all`` brings older ones up to it.
"""

from __future__ import annotations

FORM = 7
"""Raised whenever ``extract`` makes something else of the same resource, so that a database that holds rows of an older form is known."""

PAIRS = 3
"""The first form with pairs (``search.pairs``): rows of an older one would not be found by them."""

BEGINNINGS = 6
"""The first form with beginnings of strings (``search.types.string``): rows of an older one would not be found by them."""

CODES_ALONE = 7
"""The first form whose pairs are of codes without their systems, and of nothing else (``search.pairs``)."""
