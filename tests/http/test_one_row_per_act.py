"""In any mixture of successes and failures, each act leaves exactly one row, and none is told twice."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from pymongo.errors import AutoReconnect

from fhir_dmp.stores.mongo.months import Months
from tests.http.test_interactions import PATIENT
from tests.log_rows import rows_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def rows(app):
    """Return all rows of the log, straight from the database."""
    return [json.loads(row.body) for row in rows_of(app.extensions["fhir_dmp"].store.log)]


def batch_of(kind, *entries):
    """Return a bundle."""
    asked = [
        {"request": {"method": method, "url": url}, **({"resource": resource} if resource else {})}
        for method, url, resource in entries
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": asked}


def acts(known):
    """Return what can be asked: a function of a caller and headers, and how many rows it must leave."""
    wrong = {"resourceType": "Patient", "bogus": 1}
    mixed = batch_of("batch", ("POST", "Patient", PATIENT), ("GET", "Patient/nobody", None), ("POST", "Patient", wrong))
    written = batch_of("transaction", ("POST", "Patient", PATIENT), ("GET", f"Patient/{known}", None))
    refused = batch_of("transaction", ("POST", "Patient", PATIENT), ("POST", "Patient", wrong))
    return [
        (lambda ehr, sent: ehr.post("/Patient", PATIENT, headers=sent), 1),
        (lambda ehr, sent: ehr.get(f"/Patient/{known}", headers=sent), 1),
        (lambda ehr, sent: ehr.get("/Patient/nobody", headers=sent), 1),
        (lambda ehr, sent: ehr.get("/Patient?family=Durand&_count=3", headers=sent), 1),
        (lambda ehr, sent: ehr.post("/Patient/_search", b"family=Durand", headers={**sent, **FORM}), 1),
        (lambda ehr, sent: ehr.get("/Patient?family:never=x", headers={**sent, "Prefer": "handling=strict"}), 1),
        (lambda ehr, sent: ehr.get(f"/Patient/{known}/_history", headers=sent), 1),
        (lambda ehr, sent: ehr.get(f"/Patient/{known}/_history/9", headers=sent), 1),
        (lambda ehr, sent: ehr.post("/Patient", wrong, headers=sent), 1),
        (lambda ehr, sent: ehr.post("/Patient", b"{", headers=sent), 1),
        (
            lambda ehr, sent: ehr.put(
                f"/Patient/{known}", {**PATIENT, "id": known}, headers={**sent, "If-Match": 'W/"99"'}
            ),
            1,
        ),
        (lambda ehr, sent: ehr.put(f"/Patient/{known}", {**PATIENT, "id": known}, headers=sent), 1),
        (lambda ehr, sent: ehr.get(f"/Patient/{known}/$meta", headers=sent), 1),
        (lambda ehr, sent: ehr.get(f"/Patient/{known}/$nothing", headers=sent), 1),
        (lambda ehr, sent: ehr.get("/Nonsense", headers=sent), 1),
        (lambda ehr, sent: ehr.get("/Patient", headers={**sent, "Authorization": "Bearer nonsense"}), 1),
        (lambda ehr, sent: ehr.post("", mixed, headers=sent), 4),
        (lambda ehr, sent: ehr.post("", written, headers=sent), 2),
        (lambda ehr, sent: ehr.post("", refused, headers=sent), 1),
    ]


def load(app, ehr, rounds):
    """Send everything from eight threads, in no order; return what each request id must leave and was answered."""
    known = ehr.post("/Patient", PATIENT).json["id"]
    asked = [(number, *act) for number, act in enumerate(acts(known) * rounds)]
    random.Random(7).shuffle(asked)
    answers, lock = {}, threading.Lock()

    def one(number, act, expected):
        name = f"act-{number}"
        answer = act(ehr.fresh(), {"X-Request-Id": name})
        with lock:
            answers[name] = (answer.status_code, expected)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: one(*each), asked))
    return answers


def test_a_mixed_load_leaves_one_row_for_each_act(app, ehr):
    """Reads, searches, writes, refusals, nonsense, bundles with their entries: nothing is missing, nothing is twice."""
    answers = load(app, ehr, 4)
    counted = Counter(row.get("requestId") for row in rows(app))

    assert {name: counted[name] for name in answers} == {name: expected for name, (_, expected) in answers.items()}
    assert {status for status, _ in answers.values()} >= {200, 201, 400, 401, 404, 412}


def test_a_database_that_loses_connections_doubles_no_row(app, ehr, monkeypatch):
    """Rows that were stored although the answer got lost are recognised; what is answered has its row, once."""
    chance, whole, lock = random.Random(3), Months.insert_alone, threading.Lock()

    def lossy(self, made):
        with lock:
            fate = chance.random()
        if fate < 0.1:
            raise AutoReconnect("lost before")
        done = whole(self, made)
        if fate > 0.85:
            raise AutoReconnect("lost after")
        return done

    monkeypatch.setattr(Months, "insert_alone", lossy)
    answers = load(app, ehr, 3)
    monkeypatch.undo()
    counted = Counter(row.get("requestId") for row in rows(app))

    told = {name: counted[name] for name, (status, _) in answers.items() if status != 503}
    assert told == {name: expected for name, (status, expected) in answers.items() if status != 503}
    assert all(counted[name] <= expected for name, (_, expected) in answers.items())
    assert len({row["id"] for row in rows(app)}) == len(rows(app))


def test_a_log_that_takes_nothing_is_not_told_of_it_again(app, ehr, monkeypatch):
    """The act fails with 503; no second row is tried, which could come to stand beside a first one that arrived late."""
    known = ehr.post("/Patient", PATIENT).json["id"]
    tried = []

    def fail(self, made):
        tried.extend(row.id for row in made)
        raise AutoReconnect("away")

    monkeypatch.setattr(Months, "insert_alone", fail)
    answer = ehr.get(f"/Patient/{known}")

    assert answer.status_code == 503
    assert b"Durand" not in answer.data
    assert len(set(tried)) == 1
