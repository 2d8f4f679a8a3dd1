"""JSON Patch on trees. https://www.rfc-editor.org/rfc/rfc6902."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_dmp.errors import Invalid, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.interactions.json_patch import apply

SUITE = Path(__file__).parents[3] / "../shared/data/fhirpath-patch-tests/json-patch-tests.json"
LIMIT = 10_000


def patched(raw, *operations, limit=LIMIT):
    """Return the bytes of the document after the operations."""
    return codec.dumps(apply(codec.loads(json.dumps(operations).encode()), codec.loads(raw), limit))


def test_digits_survive_beside_and_within_what_is_patched():
    """36.70 and 1.0E-5 come out as they went in, moved or copied."""
    raw = b'{"a":{"value":36.70},"b":[1.0E-5]}'

    assert patched(raw, {"op": "add", "path": "/c", "value": 1}) == b'{"a":{"value":36.70},"b":[1.0E-5],"c":1}'
    moved = patched(
        raw, {"op": "move", "from": "/a/value", "path": "/b/0"}, {"op": "copy", "from": "/b/0", "path": "/d"}
    )
    assert moved == b'{"a":{},"b":[36.70,1.0E-5],"d":36.70}'


def test_a_test_compares_numbers_by_what_they_say():
    """36.70 is 36.7 and 1 is 1.0; the text "1" is not 1."""
    raw = b'{"a":36.70,"b":1}'

    assert patched(raw, {"op": "test", "path": "/a", "value": 36.7}, {"op": "test", "path": "/b", "value": 1.0}) == raw
    with pytest.raises(Unprocessable):
        patched(raw, {"op": "test", "path": "/b", "value": "1"})


def test_the_given_document_stays_as_it_is():
    """A patch that fails half way has changed nothing."""
    tree = codec.loads(b'{"a":[1]}')
    with pytest.raises(Unprocessable):
        apply([{"op": "add", "path": "/a/-", "value": 2}, {"op": "remove", "path": "/b"}], tree, LIMIT)

    assert tree == {"a": [1]}


def test_copies_that_double_and_double_are_stopped():
    """Thirty operations would make a billion items."""
    double = {"op": "copy", "from": "/a", "path": "/a/-"}

    with pytest.raises(Unprocessable, match="copies more"):
        patched(b'{"a":[1]}', *[double] * 30)


@pytest.mark.parametrize(
    "operation", [{}, "x", None, {"op": "destroy"}, {"path": "/a"}, {"op": "add", "path": 1, "value": 1}, [1]]
)
def test_what_is_no_operation_is_invalid(operation):
    """400, and no trace of a fault."""
    with pytest.raises(Invalid):
        patched(b'{"a":1}', operation)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "move", "from": "/b", "path": "/c"},
        {"op": "copy", "from": "/b", "path": "/c"},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "remove", "path": "/l/x"},
    ],
)
def test_what_does_not_apply_is_unprocessable(operation):
    """A place that is not there."""
    with pytest.raises(Unprocessable):
        patched(b'{"a":1,"l":[1]}', operation)


def test_too_many_operations_are_refused_and_none_change_nothing():
    """A list of none is a JSON Patch."""
    with pytest.raises(Invalid):
        patched(b'{"a":1}', *[{"op": "test", "path": "/a", "value": 1}] * 1001)
    assert patched(b'{"a":1}') == b'{"a":1}'


@pytest.mark.skipif(not SUITE.exists(), reason=f"the suite is not there: {SUITE.name}")
def test_the_suite_of_the_standards_authors_passes():
    """Every case: the document that is expected, or an error."""
    cases = json.loads(SUITE.read_text())
    assert len(cases) > 10
    for case in cases:
        try:
            made = json.loads(patched(json.dumps(case["doc"]).encode(), *case["patch"]))
        except (Invalid, Unprocessable):
            made = None
        assert made == case.get("expected", case["doc"] if "error" not in case else None), case["comment"]
