"""What a person allowed ends for every request that starts after it was taken back, on whatever worker, while tokens are being replaced.

Four applications on one database read with access tokens and replace refresh tokens without pause, while one authorization after the other is
given and ended. Each answer is held against the order of events.
"""

from __future__ import annotations

import random
import re
import threading
import time
from dataclasses import dataclass, field
from html import unescape
from math import inf

import pytest

from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.clients import NewClient
from tests.http.oauth.people import ask, back, fill, redeem
from tests.journeys.test_consents_hold_at_once import WORKERS, Workers
from tests.oauth_world import APP_SCOPES, CALLBACK, post, refresh
from tests.sign_in_world import PASSWORD, Visitor

PATIENCE = 60.0
TIMES = 5
"""Authorizations that are given and ended."""


@dataclass
class Given:
    """One authorization: its tokens, and when its end was sent and acknowledged."""

    access: list
    refresh: str
    used: list = field(default_factory=list)
    sent: float = inf
    done: float = inf

    def right(self, began, ended):
        """Return whether a request between these moments had to be let in, had not to be, or might be either."""
        return True if ended < self.sent else False if began > self.done else None


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """Four workers, a record, and an app that its holder knows."""
    made = Workers(mongodb_uri, database_name, tmp_path)
    server = made.servers[0]
    operator = server.operator_context("tester", "test")
    server.accounts.add(NewAccount("patient", "Zoé Petit", made.patient, "urn:ins|1", "zoe.petit", PASSWORD), operator)
    server.clients.add(
        NewClient("phone", "public", "app", APP_SCOPES, redirect_uris=(CALLBACK,), name="Mon carnet"), operator
    )
    yield made
    made.close()


def by_revocation(world, visitor, given):
    """The app gives its refresh token back, at another worker than the one that readers ask next."""
    return post(world.apps[1].test_client(), "revoke", token=given.refresh, client_id="phone").status_code == 200


def by_reuse(world, visitor, given):
    """A refresh token that was replaced is presented again: by a thief, or by who was robbed."""
    return refresh(world.apps[2].test_client(), given.used[-1]).json["error"] == "invalid_grant"


def by_the_person(world, visitor, given):
    """The person takes back on a page what the app was allowed."""
    visitor.get("/oauth/apps")
    app = unescape(re.search(r'name="app" value="([^"]+)"', visitor.page.text)[1])
    return visitor.send("/oauth/apps", app=app).status_code == 303


class Hammer:
    """Readers and replacers, and what each of them was answered."""

    def __init__(self, world):
        self.world = world
        self.families = []
        self.reads, self.replaced = [], []
        self.over = threading.Event()

    def read(self, place):
        """Read with a token of the present authorization, or of the one before."""
        http = self.world.apps[place].test_client()
        while not self.over.is_set():
            if not self.families:
                time.sleep(0.01)
                continue
            given = random.choice(self.families[-2:])
            token = random.choice(given.access[-3:])
            began = time.monotonic()
            answer = http.get("/fhir/Observation", headers={"Authorization": f"Bearer {token}"})
            self.reads.append((given, began, time.monotonic(), answer.status_code == 200))

    def replace(self):
        """Replace the refresh token again and again, each time at another worker, also once it has ended."""
        clients = [app.test_client() for app in self.world.apps]
        while not self.over.is_set():
            if not self.families:
                time.sleep(0.01)
                continue
            given = self.families[-1]
            began = time.monotonic()
            answer = refresh(random.choice(clients), given.refresh)
            ended = time.monotonic()
            if answer.status_code == 200:
                given.used.append(given.refresh)
                given.access.append(answer.json["access_token"])
                given.refresh = answer.json["refresh_token"]
            self.replaced.append((given, began, ended, answer.status_code == 200))


def give_and_end(world, visitor, hammer, end):
    """Let the person allow the app, wait until its tokens are being replaced, and end it."""
    latest = time.monotonic() + PATIENCE
    while (
        ask(visitor).status_code == 503 and time.monotonic() < latest
    ):  # whoever is too busy says so, and is asked again
        time.sleep(0.1)
    assert visitor.page.status_code == 200, (visitor.page.status_code, visitor.page.headers, visitor.page.text)
    fill(visitor)
    tokens = redeem(world.apps[3], back(visitor)["code"]).json
    given = Given([tokens["access_token"]], tokens["refresh_token"])
    hammer.families.append(given)
    latest = time.monotonic() + PATIENCE
    while len(given.used) < 2:
        assert time.monotonic() < latest, "no refresh token was replaced"
        time.sleep(0.01)
    given.sent = time.monotonic()
    assert end(world, visitor, given)
    given.done = time.monotonic()
    latest = time.monotonic() + PATIENCE
    while not all(
        any(each[0] is given and each[1] > given.done for each in done[-500:])
        for done in (hammer.reads, hammer.replaced)
    ):
        assert time.monotonic() < latest, "nobody asked again"
        time.sleep(0.01)


def judged(answers):
    """Return what had one right answer, and what was answered otherwise."""
    held = [(given.right(began, ended), got) for given, began, ended, got in answers]
    decisive = [each for each in held if each[0] is not None]
    return decisive, [each for each in decisive if each[0] is not each[1]]


@pytest.mark.rule("L16")
@pytest.mark.parametrize("end", [by_revocation, by_reuse, by_the_person], ids=lambda end: end.__name__)
def test_no_token_outlives_what_it_came_of(world, end):
    """Neither an access token, nor a refresh token, nor one that was being made while the word was taken back."""
    visitor = Visitor(world.apps[0])
    visitor.sign_in()
    hammer = Hammer(world)
    threads = [threading.Thread(target=hammer.read, args=(place,)) for place in range(WORKERS)]
    threads.append(threading.Thread(target=hammer.replace))
    for thread in threads:
        thread.start()
    try:
        for _ in range(TIMES):
            give_and_end(world, visitor, hammer, end)
    finally:
        hammer.over.set()
        for thread in threads:
            thread.join()

    reads, wrong_reads = judged(hammer.reads)
    replaced, wrong_replaced = judged(hammer.replaced)
    told = f"{len(hammer.families)} authorizations; one right answer: {len(reads)} reads, {len(replaced)} replacements"
    assert (wrong_reads, wrong_replaced) == ([], []), told
    assert {True, False} <= {right for right, _ in reads}, told
    assert {True, False} <= {right for right, _ in replaced}, told
