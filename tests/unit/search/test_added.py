"""Parameters beside those of R4, as one worker sees them."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from msgspec.structs import replace

from fhir_dmp.definitions.compiler import UnsupportedError
from fhir_dmp.definitions.loader import load
from fhir_dmp.definitions.model import Path, SearchParam, Step
from fhir_dmp.errors import Unavailable
from fhir_dmp.search.added import POLL_SECONDS, Added, fingerprint
from fhir_dmp.search.extract import build_extract
from fhir_dmp.search.names import homes
from fhir_dmp.settings import Limits
from fhir_dmp.store.indexes import AddedParam
from tests.unit.search.world import BASE

URL = "http://a.fr/SearchParameter/marital"
MARITAL = SearchParam("marital", "token", URL, (Path((Step("maritalStatus"),), "CodeableConcept"),), added=True)
JSON = (
    b'{"resourceType":"SearchParameter","url":"http://a.fr/SearchParameter/marital","code":"marital","type":"token",'
    b'"base":["Patient"],"expression":"Patient.maritalStatus"}'
)
TREE = {"resourceType": "Patient", "maritalStatus": {"coding": [{"code": "M"}]}}


class Worker:
    """One worker: what the database says, and what time it is, are set by the test."""

    def __init__(self, definitions):
        self.said, self.reads, self.time = (), 0, 0.0
        self.added = Added(definitions, self.read, lambda: self.time)
        self.extract = build_extract(replace(definitions, search_params=self.added.indexed), BASE, Limits())

    def read(self):
        self.reads += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def sees(self):
        """Say whether new rows are indexed by it, and whether it is asked for."""
        indexed = any(each.startswith("Patient.marital=") for each in self.extract("Patient", TREE)["t"])
        return indexed, "marital" in self.added.served["Patient"]


def said(*, complete, mark=None):
    return (AddedParam(URL, mark or fingerprint({"Patient": MARITAL}), 1, complete, JSON),)


def test_rows_are_indexed_before_anybody_asks():
    """From taken up to complete; a worker that looked just now goes by what it saw, for so long and no longer."""
    worker = Worker(load())
    assert worker.sees() == (False, False)
    worker.said = said(complete=False)
    worker.time += POLL_SECONDS / 2
    assert worker.sees() == (False, False)
    worker.time += POLL_SECONDS / 2
    assert worker.sees() == (True, False)
    worker.said = said(complete=True)
    worker.time += POLL_SECONDS
    assert worker.sees() == (True, True)
    worker.said = ()
    worker.time += POLL_SECONDS
    assert worker.sees() == (False, False)
    assert worker.reads == 4


def test_a_parameter_that_is_compiled_otherwise_now_is_not_asked_for():
    """What is stored was indexed by another reading."""
    worker = Worker(load())
    worker.said = said(complete=True, mark="of before")
    assert worker.sees() == (True, False)


def test_one_that_stands_in_the_tables_waits_as_well():
    """It is indexed from the first row on, and asked for once the database says that all are."""
    tables = load()
    patient = {**tables.search_params["Patient"], "marital": MARITAL}
    worker = Worker(replace(tables, search_params={**tables.search_params, "Patient": patient}))
    assert worker.sees() == (True, False)
    worker.said = (AddedParam(URL, fingerprint({"Patient": MARITAL}), 1, complete=True),)
    worker.time += POLL_SECONDS
    assert worker.sees() == (True, True)


def test_an_added_parameter_takes_no_name_from_those_of_r4():
    """Rows that are there already stay where they are: the names of the others are as before."""
    tables = load()
    gender = SearchParam("sex", "token", "urn:sex", tables.search_params["Patient"]["gender"].paths, added=True)
    before = tables.search_params["Patient"]
    after = {**before, "sex": gender}
    assert homes(after, "Patient", gender) == ("Patient.sex",)
    assert all(homes(after, "Patient", param) == homes(before, "Patient", param) for param in before.values())


def test_a_database_that_does_not_answer_is_no_leave_to_guess():
    """A worker that cannot look says so, and looks again with the next call."""
    worker = Worker(load())
    worker.said = Unavailable("gone")
    with pytest.raises(Unavailable):
        worker.sees()
    worker.said = said(complete=True)
    assert worker.sees() == (True, True)


def test_one_that_the_tables_have_taken_since_is_passed_over():
    """A posted parameter whose code is R4's now breaks no search."""
    worker = Worker(load())
    worker.said = (AddedParam("urn:x", "y", 1, complete=True, definition=JSON.replace(b'"marital"', b'"gender"')),)
    assert worker.sees() == (False, False)
    with pytest.raises(UnsupportedError):
        worker.added.compile(
            {"code": "gender", "base": ["Patient"], "expression": "Patient.gender", "type": "token", "url": "urn:x"}
        )


def test_who_waited_while_the_database_did_not_answer_is_not_kept_waiting_again():
    """One asks, and what becomes of it is told to all who waited for that; whoever comes later asks anew."""
    worker, begun, go = Worker(load()), threading.Event(), threading.Event()
    told = []

    def read():
        worker.reads += 1
        begun.set()
        go.wait(60)
        raise Unavailable("The database does not answer.")

    worker.added._read = read

    def ask():
        try:
            worker.added.changes  # noqa: B018 - it looks
        except Unavailable as fault:
            told.append(str(fault))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    askers[0].start()
    assert begun.wait(60)
    for each in askers[1:]:
        each.start()
    while not all(waits_for_a_lock(each) for each in askers[1:]):
        time.sleep(0.001)
    go.set()
    for each in askers:
        each.join()
    assert (told, worker.reads) == (["The database does not answer."] * 4, 1)
    ask()
    assert worker.reads == 2


def waits_for_a_lock(thread):
    """Tell whether the thread has come to the lock that is held."""
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code.co_name == "_look_again"
