"""Whatever shape JSON, XML and patches have, they are read, or refused with a reason; nothing else comes out."""

from __future__ import annotations

import random
import tarfile
from copy import deepcopy
from pathlib import Path

import pytest

from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec, xml
from fhir_dmp.interactions import fhirpath_patch, json_patch
from fhir_dmp.validation.structure import build_validator

EXAMPLES = Path(__file__).parents[1] / "data" / "all-examples.tar.xz"
ROUNDS = 400
WORDS = (
    *(
        "Patient",
        "name",
        "[0]",
        ".",
        "given",
        "where(",
        "use='official'",
        ")",
        "first()",
        "|",
        "div",
        "+",
        "1",
        "$this",
    ),
    *("%context", "extension('x')", "'", "text", "ofType(", "as", "{}", "and", "is", "not()", "`", "//", "@2020", "-"),
    *("Observation", ".value", "component", "code", "coding", "empty()", "id", "meta", ".tag", "count()", "@"),
)
VALUES = (
    {"valueString": "x"},
    {"valueQuantity": {"value": 1}},
    {"part": [{"name": "name", "valueString": "x"}]},
    {"part": [{"x": 1}]},
    {"part": "x"},
    {},
    {"valueString": None},
    {"resource": {"resourceType": "Patient"}},
)
MISSHAPEN = (
    None,
    5,
    1.5,
    True,
    "x",
    "#x",
    [],
    {},
    [None],
    [5],
    ["x"],
    [[]],
    [{}],
    {"x": 1},
    {"id": "x"},
    {"reference": "#x"},
)
STRANGE = (1, None, "x", [], {"name": []}, {"name": "path", "valueString": 5})


@pytest.fixture(scope="module")
def examples():
    """Short official examples."""
    found = []
    with tarfile.open(EXAMPLES) as archive:
        for member in archive:
            if member.isfile() and member.size < 5000:
                tree = codec.loads(archive.extractfile(member).read())
                if isinstance(tree, dict) and tree.get("resourceType") in load().types:
                    found.append(tree)
    assert len(found) > 100
    return found


def mutilated(raw, chance):
    """Return the bytes with some changed, cut out or doubled."""
    raw = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(raw)), chance.randint(1, 60)
        match chance.randrange(3):
            case 0:
                raw[place] = chance.randrange(256)
            case 1:
                raw[place : place + length] = b" "
            case 2:
                raw[place:place] = raw[chance.randrange(len(raw)) :][:length]
    return bytes(raw)


def _places(node):
    """Yield all that stands in it, each by what holds it and its key."""
    within = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, part in within:
        yield node, key
        yield from _places(part)


def test_json_of_any_shape_is_judged(examples):
    """A value of another shape than its element's is told, and so is what points into it."""
    chance, validate = random.Random(7), build_validator(load())
    refused = 0
    for _ in range(ROUNDS * 5):
        tree = codec.loads(codec.dumps(chance.choice(examples)))
        expected = tree["resourceType"]
        for _ in range(2):
            holder, key = chance.choice(list(_places(tree)))
            holder[key] = deepcopy(chance.choice(MISSHAPEN))
        refused += bool(validate(expected, tree))

    assert 0 < refused < ROUNDS * 5


@pytest.mark.parametrize("contained", [None, 5, True, "x", {}, {"id": "x"}, [], [None], [5]])
def test_a_reference_into_no_list_of_resources_points_at_nothing(contained):
    """It is refused beside the fault of the list."""
    tree = {"resourceType": "Basic", "code": {"text": "x"}, "contained": contained, "subject": {"reference": "#x"}}

    found = [(issue.code, issue.expression) for issue in build_validator(load())("Basic", tree)]

    assert ("invariant", "Basic.subject") in found
    assert (
        "structure",
        "Basic.contained[0]" if contained and isinstance(contained, list) else "Basic.contained",
    ) in found


def test_xml_of_any_shape_is_read_or_refused(examples):
    """What is read can be judged and written again."""
    chance, types, validate = random.Random(7), load().types, build_validator(load())
    read = 0
    for _ in range(ROUNDS):
        raw = mutilated(xml.write(chance.choice(examples), types), chance)
        try:
            tree = xml.read(raw, types)
        except FhirError as error:
            assert error.status == 400
            continue
        read += 1
        validate(tree["resourceType"], tree)
        assert xml.write(tree, types)

    assert 0 < read < ROUNDS


def _path(chance):
    return "".join(chance.choice(WORDS) + chance.choice(("", ".", " ")) for _ in range(chance.randint(1, 8)))


def _operation(tree, chance):
    """Return an operation of FHIRPath Patch that may be good."""
    path = _path(chance) if chance.random() < 0.6 else f"{tree['resourceType']}.{chance.choice(list(tree))}"
    part = [
        {"name": "type", "valueCode": chance.choice(("add", "insert", "delete", "replace", "move"))},
        {"name": "path", "valueString": path},
        {"name": "name", "valueString": chance.choice([*tree, "value", "extension"])},
        {"name": "index", "valueInteger": chance.randint(0, 3)},
        {"name": "source", "valueInteger": 0},
        {"name": "destination", "valueInteger": chance.randint(0, 2)},
        {"name": "value", **chance.choice(VALUES)},
    ]
    if chance.random() < 0.1:
        part.append(chance.choice(STRANGE))
    return {"name": "operation", "part": part}


def test_a_fhirpath_patch_of_any_shape_is_applied_or_refused(examples, capfd):
    """What is made of it can be judged; nothing is printed of a path that does not parse."""
    chance, validate = random.Random(7), build_validator(load())
    applied = 0
    for _ in range(ROUNDS):
        tree = chance.choice(examples)
        try:
            made = fhirpath_patch.apply({"parameter": [_operation(tree, chance)]}, tree, load())
        except FhirError as error:
            assert error.status in (400, 422)
            continue
        applied += 1
        validate(tree["resourceType"], made)
        assert codec.dumps(made)

    assert 0 < applied < ROUNDS
    assert capfd.readouterr().out == ""


def _pointer(tree, chance):
    node, pointer = tree, ""
    for _ in range(chance.randint(0, 5)):
        if not isinstance(node, dict | list) or not node:
            break
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
        node, pointer = node[key], f"{pointer}/{key}"
    return pointer + chance.choice(("", "", "/-", "/x", "/0", "~", "/~2", "/99999999999999999999"))


def test_a_json_patch_of_any_shape_is_applied_or_refused(examples):
    """Whatever it leaves, and be it no object."""
    chance = random.Random(7)
    applied = 0
    for _ in range(ROUNDS):
        tree = chance.choice(examples)
        operation = {
            "op": chance.choice(("add", "replace", "remove", "test", "move", "copy", "x", None)),
            "path": _pointer(tree, chance),
            "from": chance.choice((_pointer(tree, chance), 5)),
            "value": chance.choice((1, "x", None, {}, [], True)),
        }
        if chance.random() < 0.2:
            operation.pop(chance.choice(list(operation)))
        try:
            made = json_patch.apply([operation], tree, 1_000_000)
        except FhirError as error:
            assert error.status in (400, 422)
            continue
        applied += 1
        assert codec.dumps(made)

    assert 0 < applied < ROUNDS
