"""Who asks about several and finds what one of them has is told no of the others: they find it in their journals."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from fhir_dmp.call import Act, Call, Entity, Result
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.met import _NAMED_IN, has_met
from tests.access_world import observation
from tests.http.newest_row import bundle, entry, numbered, shown, told, whose


@pytest.fixture
def pair(world):
    """Two patients with an observation each; words for criteria that name them."""
    first, own = numbered(world)
    second = world.new_patient()
    made = world.ehr.made({**observation(second), "code": {"text": "found"}, "meta": {"tag": [{"code": "found"}]}})
    ids = {"first": first, "second": second.partition("/")[2], "own": own, "other": made["id"]}
    return ids | {"both": {f"Patient/{first}", second}, "who": f"Patient/{first}"}


SEVERAL = (
    "Observation?patient={second},{first}&code:text=found",
    "Observation?subject=Patient/{second},Patient/{first}&code:text=found",
    "Observation?subject:Patient={second},{first}&code:text=found&_summary=count",
    "Observation?_id={other},{own}&code:text=found",
    "?_type=Observation,Condition&_id={other},{own}&_lastUpdated=ge2000&_tag=|found",
)


@pytest.mark.parametrize("how", SEVERAL)
def test_whoever_is_named_beside_one_who_has_what_is_found_is_told(world, pair, how):
    """By id or reference; of what the first one has the event names nothing."""
    kind, _, query = how.format(**pair).partition("?")
    call = Call("search-type" if kind else "search-system", kind or None, params=tuple(parse_qsl(query)))
    answer = world.ehr.ask(call)

    assert (answer.status, answer.body["total"], whose(world)) == (200, 1, pair["both"])
    assert told(world).get("touched", {}).get(pair["who"], {}) == {}
    assert set(shown(world, world.system("auditor-one", "auditor"))) == pair["both"]


def test_criteria_that_one_of_several_meets_tell_of_the_others(world, pair):
    """Alone and in a transaction."""
    criteria = f"patient={pair['second']},{pair['first']}&code:text=found"
    tree = observation(f"Patient/{pair['second']}")
    calls = [
        Call("create", "Observation", body=json.dumps(tree).encode(), criteria=criteria),
        bundle("transaction", entry("POST", "Observation", tree, ifNoneExist=criteria)),
        bundle("transaction", entry("PUT", f"Observation?{criteria}", tree)),
    ]

    assert [(world.ehr.ask(call).status, whose(world)) for call in calls] == [(200, pair["both"])] * len(calls)


def test_several_that_are_all_found_are_not_looked_for_again(world, pair, monkeypatch):
    """As an application does that reads a list of ids; nor are several values that name nobody."""

    def none(*_, **__):
        raise AssertionError("looked for again")

    world.ehr.search("Patient", "_count=1")
    for name in ("concerned", "find_many"):
        monkeypatch.setattr(type(world.server.store), name, none)
    for query in (
        "_id={own},{other}&status=final",
        "patient={first},{second}",
        "code:text=found,x&status=final,amended",
    ):
        assert world.ehr.search("Observation", query.format(**pair)).status == 200
        assert whose(world) == pair["both"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("result", "Observation/a,Observation/b", True),
        ("result", "https://other.test/fhir/Observation/a,b", True),
        ("code", "http://terminology.hl7.org/CodeSystem/x|a,http://terminology.hl7.org/CodeSystem/x|b", False),
        ("code", "a,b", False),
        ("_id", "a,b", True),
    ],
)
def test_codes_are_taken_for_no_names(name, value, expected):
    """A search for several codes is a usual one: what it asks is not read again to tell whom it names."""
    found = Result("ok", entities=(Entity(Ref("Observation", "a"), 1, ("Patient/p",)),))
    act = Act(Call("search-type", "Observation", params=((name, value),)), found)

    assert has_met(act) is expected


def test_what_no_name_begins_in_is_looked_through_once():
    """However long it is: a value of letters alone was gone through anew from each of them."""
    assert _NAMED_IN.match("AAAA/", 0)
    assert all(_NAMED_IN.match("AAAA/", place) is None for place in (1, 2, 3))
