"""What the log costs and what it gives: bytes for each act, verification, and proofs out of a log of a million events."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import requests
from bench_target import Shape, Target, serving
from pymongo import MongoClient
from pymongo.database import Database

from fhir_dmp.app.running import open_server
from fhir_dmp.app.sealing import Sealing, create_sealing
from fhir_dmp.app.server import Server
from fhir_dmp.call import Call
from fhir_dmp.clock import RandomIds, SystemClock
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import read
from fhir_dmp.interactions.operation import given
from fhir_dmp.service import log_proofs
from fhir_dmp.service.audit_verify import verify_proof
from fhir_dmp.service.granting import grant_of
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import Event
from fhir_dmp.store.period import period_of
from fhir_dmp.stores.mongo import embedded
from fhir_dmp.stores.mongo.block_rows import rows_in
from fhir_dmp.stores.mongo.chain import Chain, Epochs
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, SEAL_SUFFIX, months
from fhir_dmp.stores.mongo.months import Months

Row = dict[str, Any]

CHAINS = 4
"""Writers of the large log: two workers with two each."""

AT_ONCE = 5000
"""Rows that are inserted together."""

ASKED = 1000
"""Proofs of each kind that are asked for, by the service's call and by HTTP."""

_NAME = "fhir_dmp_proofs"
_SERVICE = {"inclusion": log_proofs.proof, "consistency": log_proofs.consistency}


def of_log(target: Target, folder: Path) -> str:
    """Return what an act takes, what it takes to verify the log as it is now, beyond the start of a command, and one proof."""
    moments = [time.monotonic()]
    for words in (("head",), ("verify",), ("verify", "--index")):
        told = target.command("audit", *words)
        moments.append(time.monotonic())
    start, plain, indexed = (after - before for before, after in pairwise(moments))
    events = int(told.split(" ", 1)[0])
    reader = target.another("auditor")
    found = requests.get(
        f"{target.url}/fhir/AuditEvent?date=ge2020&subtype=read&_count=200", headers=reader, timeout=60
    )
    ids = [entry["resource"]["id"].partition(".")[0] for entry in found.json()["entry"]]
    with requests.Session() as session:
        session.headers.update(reader)
        took = [_seconds(lambda each=each: session.get(f"{target.url}/fhir/AuditEvent/{each}/$proof")) for each in ids]
    return (
        f"log: {events} events, verified at {events / (plain - start):.0f}/s, with --index at {events / (indexed - start):.0f}/s; "
        f"a proof takes {_spread(took)}, with its request\n{_stored(folder)}"
    )


def _stored(folder: Path) -> str:
    """Return the bytes of a row with what it is found by, and of an event, as they are stored before compression; and a row's disk."""
    sizes: Counter[int] = Counter()
    disk = events = 0
    rows = {"$ifNull": ["$size", 1]}
    grouped: Row = {
        "_id": {"$round": {"$divide": [{"$bsonSize": "$$ROOT"}, rows]}},
        "n": {"$sum": rows},
        "events": {"$sum": {"$ifNull": ["$m", rows]}},
    }
    with MongoClient[Row](embedded.uri(folder)) as client:
        log = client[f"{Settings().mongodb_database}{LOG_SUFFIX}"]
        for month in months(log):
            for each in log[month].aggregate([{"$group": grouped}]):
                sizes[each["_id"]] += each["n"]
                events += each["events"]
            told = log.command("collStats", month)
            disk += told["storageSize"] + told["totalIndexSize"]
    acts, ordered = sizes.total(), sorted(sizes)
    until = list(accumulate(sizes[size] for size in ordered))
    middle, last = (ordered[bisect_left(until, acts * share)] for share in (0.5, 0.99))
    total = sum(size * count for size, count in sizes.items())
    return (
        f"a row takes {total / acts:.0f} bytes before compression (p50 {middle}, p99 {last}, {acts} rows), "
        f"and {disk / acts:.0f} on disk with its indexes; an event {total / events:.0f} ({events} events)"
    )


def proofs(shape: Shape, folder: Path, count: int) -> str:
    """Return what proofs take out of a log of so many events, which is made for it on the run's mongod and dropped."""
    with MongoClient[Row](embedded.uri(folder)) as client, _large_log(client, folder, count) as large:
        lines = [f"a log of {count} events, sealed at {count / large.sealed:.0f}/s under {large.heads} heads"]
        with open_server(large.settings) as server:
            lines.append(f"  by the service's call: {_asked_of(server, large)}")
        log = folder / "proofs.log"
        with serving(large.settings, folder, shape, log) as other:
            lines.append(f"  by HTTP, one connection, with its own event: {_asked_by_http(other, large)}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Large:
    """The large log: how to reach it, ids of some of its events, how many heads hold it, and how long it took to seal (seconds)."""

    settings: Settings
    sealing: Sealing
    events: Sequence[str]
    heads: int
    sealed: float

    def calls(self) -> dict[str, list[Call]]:
        """Return what is asked: each event's proof, and as many from a head to the last one."""
        drawn = random.Random(1)  # noqa: S311 - the same heads each time
        olders = [str(drawn.randint(1, max(self.heads - 1, 1))) for _ in self.events]
        return {
            "inclusion": [Call("operation", "AuditEvent", each, operation="proof") for each in self.events],
            "consistency": [
                Call("operation", "AuditEvent", params=(("from", each),), operation="consistency") for each in olders
            ],
        }

    def require(self, body: bytes) -> None:
        """Raise ``ValueError`` unless this is a proof under the log's key."""
        verify_proof(read(codec.loads_object(body)), self.sealing.keys.public())


@contextmanager
def _large_log(client: MongoClient[Row], folder: Path, count: int) -> Iterator[_Large]:
    """Yield a log of so many rows like those of the run, stored and sealed by the server's own parts."""
    own = folder / "proofs"
    own.mkdir(exist_ok=True)
    settings = Settings(
        mongodb_uri=embedded.uri(folder), mongodb_database=_NAME, data_dir=own, alterable_log=True, metrics_port=0
    )
    sealing = create_sealing(settings)
    try:
        events = _insert(client, client[f"{Settings().mongodb_database}{LOG_SUFFIX}"], count)
        sealed = _seconds(sealing.sealer.tick)
        sealing.sealer.release()
        yield _Large(settings, sealing, events, sum(1 for _ in sealing.ledger.heads()), sealed)
    finally:
        sealing.close()
        for suffix in ("", LOG_SUFFIX, SEAL_SUFFIX):
            client.drop_database(f"{_NAME}{suffix}")


def _insert(client: MongoClient[Row], live: Database[Row], count: int) -> list[str]:
    """Insert rows in chains, and then their indexes; return the ids of some of them, from all over the log."""
    log = client[f"{_NAME}{LOG_SUFFIX}"]
    chains = [Chain(f"{number}r") for number in range(CHAINS)]
    epochs, rows = Epochs(log, client[f"{_NAME}{SEAL_SUFFIX}"], SystemClock()), Months(log)
    for chain in chains:
        epochs.begin(chain)
    ids: list[str] = []
    like = _like(live)
    for first in range(0, count, AT_ONCE):
        chain = chains[first // AT_ONCE % CHAINS]
        placed = chain.rows([like() for _ in range(min(AT_ONCE, count - first))])
        if not rows.insert_alone(placed):
            raise SystemExit("Rows of the large log were not stored.")
        chain.advance(placed)
        ids.extend(row.id for row in placed)
    rows.prepare({period_of(chain.last.recorded) for chain in chains})
    return random.Random(1).sample(ids, min(ASKED, count))  # noqa: S311 - the same places each time


def _like(live: Database[Row]) -> Callable[[], Event]:
    """Return what makes events like the newest read of the live log, each with its own id."""
    month = live[months(live)[-1]]
    document = month.find_one({"u": "s=read"}, sort=[("rec", -1)]) or month.find_one() or {}
    rows = rows_in(document, month.name)
    row = next((each for each in rows if "s=read" in each.terms["u"]), rows[0])
    before, _, after = row.body.partition(row.id.encode())
    ids = RandomIds()

    def event() -> Event:
        ident = ids.new()
        return Event(ident, row.recorded, before + ident.encode() + after, row.terms)

    return event


def _asked_of(server: Server, large: _Large) -> str:
    """Return how long the service takes for proofs, each of which must hold."""
    told = []
    for name, calls in large.calls().items():
        context = server.auditor_context("bench", "bench")
        took = []
        for call in [given(each, server.env) for each in calls]:
            grant = grant_of(call, context, server.env)
            began = time.monotonic()
            result = _SERVICE[name](call, context, grant, server.env)
            took.append(time.monotonic() - began)
            large.require(result.body or b"")
        told.append(f"{name} {_spread(took)}")
    return ", ".join(told)


def _asked_by_http(target: Target, large: _Large) -> str:
    """Return how long an auditor waits for proofs, each of which must hold."""
    told = []
    with requests.Session() as session:
        session.headers.update(target.another("auditor"))
        for name, calls in large.calls().items():
            took = []
            for call in calls:
                path = "/".join(part for part in ("AuditEvent", call.id, f"${call.operation}") if part)
                began = time.monotonic()
                answer = session.get(f"{target.url}/fhir/{path}", params=dict(call.params), timeout=30)
                took.append(time.monotonic() - began)
                large.require(answer.content)
            told.append(f"{name} {_spread(took)}")
    return ", ".join(told)


def _seconds(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def _spread(took: Sequence[float]) -> str:
    ordered = sorted(took)
    middle, last = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"{middle * 1000:.1f} ms (p99 {last * 1000:.1f}, of {len(ordered)})"
