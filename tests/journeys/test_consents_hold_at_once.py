"""A word of the patient holds for every request that starts after its answer, on whatever worker.

Four applications on one database are asked without pause while the patient opens and shuts the record. Each answer is held against the
order of events: a request that began after the last word was acknowledged, and ended before the next one was sent, has one right answer.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from tests.access_world import Actor, World, changed, consent, document, observation
from tests.conftest import server_settings
from tests.http.conftest import register

SECONDS = 4.0
ROUNDS = 4
WORKERS = 4
PATIENCE = 30.0
"""How long an answer may wait for its evidence, on a machine that is hammered."""

_EHR_STRUCTURE = "urn:x|1"


class Workers(World):
    """Four servers on one database, and their applications."""

    def __init__(self, uri, name, folder):
        super().__init__(uri, name, folder)
        settings = server_settings(uri, name, folder, audit_timeout_seconds=PATIENCE)
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


def hammer(flips, asks):
    """Ask without pause while the words change; return each answer: the kind of asker, what was right, and whether it was permitted.

    ``asks`` are pairs of a kind and what asks.
    """
    until = time.monotonic() + SECONDS
    answers = []

    def reader(kind, ask):
        mine = []
        while time.monotonic() < until:
            began = time.monotonic()
            permitted = ask()
            mine.append((kind, began, time.monotonic(), permitted))
        answers.extend(mine)

    threads = [
        threading.Thread(target=flips.run, args=(until,)),
        *(threading.Thread(target=reader, args=each) for each in asks),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [(kind, flips.right(began, ended), permitted) for kind, began, ended, permitted in answers]


def require_held(flips, asks):
    """Hold every answer to the words; each kind of asker must have had both answers where no other was right.

    A busy machine may need more than one round for that.
    """
    decisive = {kind: Counter() for kind, _ in asks}
    for _ in range(ROUNDS):
        judged = hammer(flips, asks)
        wrong = [each for each in judged if each[2] not in each[1]]
        for kind, right, permitted in judged:
            decisive[kind][permitted] += len(right) == 1
        lacking = [kind for kind, each in decisive.items() if not (each[True] and each[False])]
        told = f"{len(flips.told)} words; of answers with one right answer, {decisive}"
        assert wrong == [], told
        if not lacking:
            break

    assert lacking == [], told
    assert len(flips.told) > 5, told


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
    """A professional and an EHR, by read, by search and by a second page whose link they had before, at four workers."""
    world.ehr.made(document(world.patient))
    own = world.ehr.made(document(world.patient))["id"]
    item = f"DocumentReference/{own}"
    says = kind(world, item)
    doctor = world.professional("1")
    ehr = register(world.apps[0], "ehr-x")
    listed = f"patient={world.patient}&_count=1"
    page = next_page(world.at(0, doctor).search("DocumentReference", listed).body)
    theirs = next_page(ehr.get(f"/DocumentReference?{listed}").json)
    asks = []
    for place in range(WORKERS):
        caller = world.at(place, doctor)
        system = ehr.at(world.apps[place])
        asks += [
            ("read", lambda caller=caller: caller.read(item).status == 200),
            ("search", lambda caller=caller: own in caller.search("DocumentReference").ids),
            ("second page", lambda caller=caller: own in caller.search("DocumentReference", page).ids),
            ("read by an EHR", lambda system=system: system.get(f"/{item}").status_code == 200),
            (
                "second page of an EHR",
                lambda system=system: own in system.get(f"/DocumentReference?{theirs}").get_data(as_text=True),
            ),
        ]

    require_held(Flips(says, first=True), asks)


def next_page(bundle):
    """Return the query of the link to the next page."""
    return next(link["url"] for link in bundle["link"] if link["relation"] == "next").partition("?")[2]


@pytest.mark.rule("L16", "F1")
def test_no_write_is_permitted_or_refused_under_a_word_that_was_taken_back(world):
    """Creates and updates of an EHR at four workers, each of which remembers the policy that it saw last."""
    item = world.ehr.made(observation(world.patient))
    says = of_closing(world, f"Observation/{item['id']}")
    asks = []
    for place in range(WORKERS):
        ehr = world.at(place, world.ehr)
        mine = ehr.made(observation(world.patient))
        asks.append(("create", lambda ehr=ehr: ehr.create(observation(world.patient)).status == 201))
        asks.append(("update", lambda ehr=ehr, mine=mine: ehr.update(changed(mine, status="amended")).status == 200))

    require_held(Flips(says, first=True), asks)


def test_the_second_page_is_asked_under_the_present_word(world):
    """A page token is no right: what it goes on with is judged anew, at another worker."""
    holder, doctor = world.holder(), world.professional("1")
    made = holder.made(consent(world.patient, "permit", actors=["Practitioner/p1"]))
    for _ in range(3):
        world.ehr.made(observation(world.patient))
    first = world.at(1, doctor).search("Observation", "_count=2")
    page = next_page(first.body)
    assert len(world.at(2, doctor).search("Observation", page).ids) == 1

    holder.update(changed(made, status="inactive"))

    assert world.at(2, doctor).search("Observation", page).status == 403
