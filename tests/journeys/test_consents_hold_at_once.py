"""A word of the patient holds for every request that starts after its answer, on whatever worker.

Four applications on one database are asked without pause while the patient opens and shuts the record. Each answer is held against the
order of events: a request that began after the last word was acknowledged, and ended before the next one was sent, has one right answer.
"""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from tests.access_world import Actor, World, changed, consent, document, observation
from tests.conftest import server_settings
from tests.http.conftest import register

SECONDS = 4.0
WORKERS = 4
_EHR_STRUCTURE = "urn:x|1"


class Workers(World):
    """Four servers on one database, and their applications."""

    def __init__(self, uri, name, folder):
        super().__init__(uri, name, folder)
        settings = server_settings(uri, name, folder)
        self.servers = [create_server(settings, clock=self.clock) for _ in range(WORKERS)]
        self.apps = [create_app(settings, server) for server in self.servers]

    def at(self, place, actor):
        """Return the same caller at another worker."""
        return Actor(_At(self.clock, self.servers[place]), actor.subject)

    def close(self):
        for server in (*self.servers, self.server):
            server.close()


class _At:
    def __init__(self, clock, server):
        self.clock, self.server = clock, server


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """Four workers, a record, and one item in it."""
    made = Workers(mongodb_uri, database_name, tmp_path)
    yield made
    made.close()


class Flips:
    """The patient's words in their order: when each was sent, when it was acknowledged, and what it means."""

    def __init__(self, says, first):
        self._says = says
        self.told = [(0.0, 0.0, first)]

    def run(self, until):
        """Change the word until then; each stands for as long as it took to say, or a slow machine would answer between two always."""
        for opens in itertools.cycle((not self.told[0][2], self.told[0][2])):
            if time.monotonic() > until:
                return
            sent = time.monotonic()
            self._says(opens)
            self.told.append((sent, time.monotonic(), opens))
            time.sleep(max(0.02, time.monotonic() - sent))

    def right(self, began, ended):
        """Return the answers that a request between these moments may have."""
        before = [word for word in self.told if word[1] < began][-1:]
        beside = [word for word in self.told if word[1] >= began and word[0] <= ended]
        return {opens for _, _, opens in (*before, *beside)}


def hammer(world, flips, asks):
    """Ask without pause from all workers while the words change; return how many answers had to be what they were, and the wrong ones."""
    until = time.monotonic() + SECONDS
    answers = []

    def reader(ask):
        mine = []
        while time.monotonic() < until:
            began = time.monotonic()
            permitted = ask()
            mine.append((began, time.monotonic(), permitted))
        answers.extend(mine)

    threads = [
        threading.Thread(target=flips.run, args=(until,)),
        *(threading.Thread(target=reader, args=(ask,)) for ask in asks),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    judged = [(flips.right(began, ended), permitted) for began, ended, permitted in answers]
    wrong = [each for each in judged if each[1] not in each[0]]
    decisive = [permitted for right, permitted in judged if len(right) == 1]
    return decisive, wrong, answers


def of_consent(world, item):
    """Authorise and withdraw."""
    holder = world.at(0, world.holder())
    made = holder.made(consent(world.patient, "permit", actors=["Practitioner/p1", _EHR_STRUCTURE]))

    def says(opens):
        assert holder.update(changed(made, status="active" if opens else "inactive")).status == 200

    return says


def of_block(world, item):
    """Block and unblock, beside a standing authorisation."""
    holder = world.at(0, world.holder())
    holder.made(consent(world.patient, "permit", actors=["Practitioner/p1", _EHR_STRUCTURE]))
    made = holder.made(consent(world.patient, "deny", actors=["Practitioner/p1", _EHR_STRUCTURE], status="inactive"))

    def says(opens):
        assert holder.update(changed(made, status="inactive" if opens else "active")).status == 200

    return says


def of_closing(world, item):
    """Close and reopen, beside a standing authorisation."""
    world.holder().made(consent(world.patient, "permit", actors=["Practitioner/p1", _EHR_STRUCTURE]))
    insurance = world.at(0, world.insurance)
    tree = insurance.read(world.patient).body

    def says(opens):
        assert insurance.update(changed(tree, active=opens)).status == 200

    return says


def of_mask(world, item):
    """Mask and unmask one document, beside a standing authorisation."""
    world.holder().made(consent(world.patient, "permit", actors=["Practitioner/p1", _EHR_STRUCTURE]))
    holder = world.at(0, world.holder())

    def says(opens):
        tree = holder.read(item).body
        flags = () if opens else ("MASQUE_PS",)
        assert holder.update({**document(world.patient, *flags), "id": tree["id"]}).status == 200

    return says


@pytest.mark.rule("L16", "F2", "L9", "L24")
@pytest.mark.parametrize("kind", [of_consent, of_block, of_closing, of_mask], ids=lambda kind: kind.__name__)
def test_no_answer_is_given_under_a_word_that_was_taken_back(world, kind):
    """A professional and an EHR, by read and by search, at four workers."""
    item = f"DocumentReference/{world.ehr.made(document(world.patient))['id']}"
    says = kind(world, item)
    doctor = world.professional("1")
    ehr = register(world.apps[0], "ehr-x")
    asks = []
    for place in range(WORKERS):
        caller = world.at(place, doctor)
        system = ehr.at(world.apps[place])
        asks.append(lambda caller=caller: caller.read(item).status == 200)
        asks.append(lambda caller=caller: bool(caller.search("DocumentReference").ids))
        asks.append(lambda system=system: system.get(f"/{item}").status_code == 200)
    flips = Flips(says, first=True)

    decisive, wrong, answers = hammer(world, flips, asks)

    told = f"{len(answers)} answers, {len(decisive)} with one right answer, {len(flips.told)} words, {len(wrong)} wrong"
    assert wrong == [], told
    assert {True, False} <= set(decisive), told
    assert len(flips.told) > 5, told


@pytest.mark.rule("L16", "F1")
def test_no_write_is_permitted_or_refused_under_a_word_that_was_taken_back(world):
    """Creates and updates of an EHR at four workers, each of which remembers the policy that it saw last."""
    item = world.ehr.made(observation(world.patient))
    says = of_closing(world, f"Observation/{item['id']}")
    asks = []
    for place in range(WORKERS):
        ehr = world.at(place, world.ehr)
        mine = ehr.made(observation(world.patient))
        asks.append(lambda ehr=ehr: ehr.create(observation(world.patient)).status == 201)
        asks.append(lambda ehr=ehr, mine=mine: ehr.update(changed(mine, status="amended")).status == 200)
    flips = Flips(says, first=True)

    decisive, wrong, answers = hammer(world, flips, asks)

    told = f"{len(answers)} answers, {len(decisive)} with one right answer, {len(flips.told)} words, {len(wrong)} wrong"
    assert wrong == [], told
    assert {True, False} <= set(decisive), told
    assert len(flips.told) > 5, told


def test_the_second_page_is_asked_under_the_present_word(world):
    """A page token is no right: what it goes on with is judged anew, at another worker."""
    holder, doctor = world.holder(), world.professional("1")
    made = holder.made(consent(world.patient, "permit", actors=["Practitioner/p1"]))
    for _ in range(3):
        world.ehr.made(observation(world.patient))
    first = world.at(1, doctor).search("Observation", "_count=2")
    page = next(link["url"] for link in first.body["link"] if link["relation"] == "next").partition("?")[2]
    assert len(world.at(2, doctor).search("Observation", page).ids) == 1

    holder.update(changed(made, status="inactive"))

    assert world.at(2, doctor).search("Observation", page).status == 403
