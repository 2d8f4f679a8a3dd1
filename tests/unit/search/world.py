"""Whether a resource is found: what ``extract`` indexes against what a URL's parameters compile to."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from urllib.parse import parse_qsl, quote

from fhir_dmp.definitions.loader import load
from fhir_dmp.fhir import codec
from fhir_dmp.search.compile import compile_criteria
from fhir_dmp.search.extract import build_extract
from fhir_dmp.search.form import FORM
from fhir_dmp.search.model import Setting
from fhir_dmp.search.parse import parse
from fhir_dmp.settings import Limits
from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import EVERYTHING

BASE = "http://127.0.0.1:8000/fhir"
NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)


@cache
def extract():
    """Return the function from a parsed resource to its index part."""
    return build_extract(load(), BASE, Limits())


def row_of(resource, lu="0000000000001w0000"):
    """Return the row of a resource (Python values, or its JSON as text)."""
    tree = codec.loads(resource.encode() if isinstance(resource, str) else codec.dumps(resource))
    index = extract()(tree["resourceType"], tree)
    return {**index, "_id": f"{tree['resourceType']}/{tree.get('id', 'x')}", "ty": tree["resourceType"], "lu": lu}


def request_of(resource_type, query, *, strict=True, limits=None):
    """Return the parsed request of a query string."""
    params = tuple(parse_qsl(query, keep_blank_values=True))
    return parse(resource_type, params, load(), limits or Limits(), strict=strict)


def query_of(resource_type, query, *, now=NOON, lookup=None, tokens=None, limits=None, bodies=None, form=FORM):
    """Return the compiled query of a query string; ``lookup`` and ``tokens`` answer the hops of chains, ``bodies`` gives stored value sets.

    ``form`` is that in which all rows are indexed.
    """
    sources = (lookup or no_lookup, tokens or no_lookup, bodies or (lambda *_: ()))
    setting = Setting(load(), BASE, now, limits or Limits(), *sources, lambda _: EVERYTHING, form)
    return compile_criteria(resource_type, request_of(resource_type, query, limits=limits).criteria, setting)


def no_lookup(*_):
    """Fail: no chain was expected."""
    raise AssertionError("nothing is looked up here")


def finds(query, resource, **options):
    """Tell whether the query string finds the resource."""
    row = row_of(resource)
    return matches(query_of(row["ty"], query, **options), row)


def finds_value(name, value, resource, **options):
    """Tell whether ``name=value`` finds the resource; the value is written as it is meant."""
    return finds(f"{name}={quote(value, safe='')}", resource, **options)
