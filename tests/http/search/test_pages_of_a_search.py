"""Searches page by page: their order, their totals, and whose each page is. https://hl7.org/fhir/R4/http.html#paging."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.http.conftest import make_app, register
from tests.search_world import ids, link, observation


def pages(caller, url):
    """Follow the next links; return the ids of each page."""
    found = []
    while url:
        answer = caller.get(url)
        assert answer.status_code == 200, answer.data
        found.append(
            [entry["resource"]["id"] for entry in answer.json.get("entry", ()) if entry["search"]["mode"] == "match"]
        )
        url = link(answer, "next")
    return found


@pytest.mark.parametrize("sort", ["_sort=-value-quantity", "_sort=date,-_id", "_sort=code", "_sort=-_lastUpdated"])
def test_no_sort_shows_a_row_twice_while_others_create_and_delete(world, sort):
    """Rows whose value stays are shown once, whatever comes and goes around them."""
    for number in range(10, 40):
        assert (
            world.put(
                f"/Observation/o{number}", observation(number, "adam", "page", number % 5, "2024-01-01")
            ).status_code
            == 201
        )
    seen, url, turn = [], f"/Observation?code=page&_count=4&{sort}", 100
    while url:
        answer = world.get(url)
        seen += [entry["resource"]["id"] for entry in answer.json.get("entry", ())]
        url = link(answer, "next")
        turn += 1
        world.put(f"/Observation/o{turn}", observation(turn, "adam", "page", turn % 5, "2024-01-01"))
        world.delete(f"/Observation/o{turn - 95}")
    assert len(seen) == len(set(seen))
    assert {f"o{number}" for number in range(20, 40)} <= set(seen)
    assert not any(int(each[1:]) > 100 for each in seen)


def test_totals_are_given_where_they_cost_nothing_or_are_asked_for(still_world):
    """A first page that is the last knows it; another page counts only if asked."""
    assert still_world.get("/Observation").json["total"] == 5
    assert "total" not in still_world.get("/Observation?_count=2").json
    assert still_world.get("/Observation?_count=2&_total=accurate").json["total"] == 5
    for question in ("_summary=count", "_count=0"):
        counted = still_world.get(f"/Observation?code=718-7&{question}").json
        assert counted["total"] == 3
        assert "entry" not in counted


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["o1", "o2", "o3", "o4", "bp"]),
        ("_sort=date", ["bp", "o1", "o4", "o2", "o3"]),
        ("_sort=-date", ["o3", "o2", "o4", "o1", "bp"]),
        ("_sort=-value-quantity", ["o4", "o3", "o2", "o1", "bp"]),
        ("_sort=value-quantity", ["o1", "o2", "o3", "o4", "bp"]),
        ("_sort=patient,-date", ["o4", "bp", "o3", "o2", "o1"]),
        ("_sort=code,-value-quantity", ["o3", "o4", "o2", "o1", "bp"]),
        ("_sort=-_id", ["o4", "o3", "o2", "o1", "bp"]),
    ],
)
def test_pages_follow_the_order_that_was_asked(still_world, sort, expected):
    """By keys, two at a time, each row once; what has no value comes last."""
    found = pages(still_world, f"/Observation?_count=2&{sort}")
    assert [each for page in found for each in page] == expected
    assert [len(page) for page in found] == [2, 2, 1]


def test_pages_keep_their_rows_while_others_write(world):
    """No repeat and no gap among what was there; what is created later is not seen, what is deleted is left out."""
    for number in range(10, 40):
        assert (
            world.put(f"/Observation/o{number}", observation(number, "adam", "page", number, "2024-01-01")).status_code
            == 201
        )
    first = world.get("/Observation?code=page&_count=7")
    stop = threading.Event()

    def write():
        number = 100
        while not stop.is_set():
            number += 1
            world.fresh().put(f"/Observation/o{number}", observation(number, "adam", "page", 1, "2024-01-01"))
            world.fresh().put("/Observation/o12", observation(12, "adam", "page", number, "2024-01-01"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert world.delete("/Observation/o30").status_code == 204
        rest = pages(world, link(first, "next"))
    finally:
        stop.set()
        writer.join()
    seen = [entry["resource"]["id"] for entry in first.json["entry"]] + [each for page in rest for each in page]
    assert seen == [f"o{number}" for number in range(10, 40) if number != 30]


def test_listing_holds_no_more_than_a_page(ehr):
    """However many pages were read: nothing of those before is kept."""
    entry = {
        "request": {"method": "POST", "url": "Basic"},
        "resource": {"resourceType": "Basic", "code": {"text": "x" * 2000}},
    }
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry] * 400}
    assert ehr.post("", bundle).status_code == 200
    held, url = [], "/Basic?_count=10"
    gc.collect()
    gc.freeze()  # what was there before need not be gone through for each page
    tracemalloc.start()
    while url:
        answer = ehr.get(url)
        url = next((each["url"] for each in answer.json["link"] if each["relation"] == "next"), None)
        gc.collect()  # what is garbage is not kept
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    gc.unfreeze()

    assert len(held) == 40
    assert held[-1] - held[5] < 200_000


def test_a_page_belongs_to_who_asked_for_it_and_to_its_search(world, app):
    """Another client, another type, one changed character: 400 each time."""
    following = link(world.get("/Observation?_count=2"), "next")
    token = parse_qs(urlsplit(following).query)["_page"][0]
    other = register(app, "ehr-two")

    assert world.get(following).status_code == 200
    assert other.get(following).status_code == 400
    assert world.get(f"/Patient?_page={token}").status_code == 400
    changed = ("A" if token[9] != "A" else "B").join((token[:9], token[10:]))
    assert world.get(f"/Observation?_page={changed}").status_code == 400
    assert "code" not in token


def test_a_page_is_judged_anew(world, app):
    """Whoever has lost the right to search since gets nothing of the next page."""
    reader = register(app, "ehr-narrow", scopes=("system/Observation.rs",))
    following = link(reader.get("/Observation?_count=2"), "next")
    app.extensions["fhir_dmp"].clients.remove(
        "ehr-narrow", app.extensions["fhir_dmp"].operator_context("tester", "test")
    )
    assert reader.get(following).status_code == 401


def test_a_page_expires(mongodb_uri, database_name, tmp_path):
    """After its hour (here: at once) the search has to be repeated."""
    app = make_app(mongodb_uri, database_name, tmp_path, page_token_seconds=-1)
    caller = register(app, "ehr-one")
    for number in range(3):
        caller.post("/Organization", {"resourceType": "Organization", "name": f"n{number}"})
    answer = caller.get(link(caller.get("/Organization?_count=1"), "next"))
    app.extensions["fhir_dmp"].close()
    assert answer.status_code == 400
    assert "too old" in answer.json["issue"][0]["diagnostics"]


def test_pages_survive_a_restart(world, app, mongodb_uri, database_name, tmp_path):
    """Another process with the same secret opens them."""
    following = link(world.get("/Observation?_count=3"), "next")
    again = make_app(mongodb_uri, database_name, tmp_path)
    caller = world.fresh()
    caller.app, caller._http = again, again.test_client()
    assert ids(caller.get(following)) == {"o4", "bp"}
    again.extensions["fhir_dmp"].close()
