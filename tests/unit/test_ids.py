"""Ids that nobody has had before: by many threads, and by a process that another one became."""

from __future__ import annotations

import multiprocessing
import re
import time
from concurrent.futures import ThreadPoolExecutor

from fhir_dmp.clock import RandomIds


def _made(count):
    return [RandomIds().new() for _ in range(count)]


def test_an_id_is_a_uuid_of_version_7_that_tells_when_it_was_made():
    """RFC 9562, 5.7: 48 bits of milliseconds, then the version and the variant."""
    before = time.time_ns() // 1_000_000
    made = RandomIds().new()

    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)
    assert before <= int(made.replace("-", "")[:12], 16) <= time.time_ns() // 1_000_000


def test_many_threads_make_no_id_twice():
    """They draw from one store of random bytes."""
    with ThreadPoolExecutor(8) as threads:
        made = [each for part in threads.map(_made, [3000] * 8) for each in part]

    assert len(set(made)) == len(made) == 24_000


def test_a_process_that_was_forked_makes_no_id_of_the_other():
    """The random part is compared: what was drawn before the fork is the parent's alone."""
    RandomIds().new()
    with multiprocessing.get_context("fork").Pool(1) as other:
        theirs = other.apply(_made, (50,))

    assert {each[14:] for each in theirs}.isdisjoint(each[14:] for each in _made(300))
