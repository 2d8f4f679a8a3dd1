"""Measure the server: a real one on a folder of its own, generated patients, ``wrk`` beside it, and two floors of the same run.

The load generator, the server and the database share this machine's cores, and others may share the machine: all loads are
measured in several rounds, and medians are told. Read the ratios. Every load is bounded in time and goes to loopback
alone, and only processes started here are ended. A figure counts good answers alone; errors stand beside it.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import bench_loads
import bench_log
import bench_person
import bench_wrk
import requests
from bench_loads import LATE, LOADS, PAGES, SEARCHES
from bench_target import Shape, Target, floor, server, unaudited
from bench_wrk import MIXED, Load

from fhir_dmp.demo.generate import directory, patients
from fhir_dmp.fhir import codec

SEED = 1
FLOORS = ("floor", "floor, audited")
HAPI = {
    "read": "1165",
    "vread": "1624",
    "patient page": "107",
    "code search": "126",
    "patient + code + date": "347",
    "string search": "206",
    "chain": "158",
    "$everything": "80",
    "create": "526",
    "update": "429",
    "mixed CRUD": "525",
    "transaction of 10": "116",
    "conditional transaction": "92",
    "import, resources": "720-930",
}
"""HAPI 8.8 on PostgreSQL, unaudited and open, measured on a machine of two cores; its patient page had 39 rows too."""

UNAUDITED = "read, unaudited"
NAMES = ("import, resources", "Synthea, resources", *FLOORS, UNAUDITED, *LOADS, *bench_person.LOADS)
BY_ONE_TOKEN = 1000
"""Bundles that are posted by one token: on a slow machine it would end before thousands are."""

CLIFF = (500, 2000, 8000)
BEFORE_NAMES = ("", *"Val Roche Mont Pré Bois Clos Mas Pont Puy Lac Gué Cap Aube Brive Crest".split())
"""What stands before the family names of each 500 patients, in the same word: however many there are, a name has a like number of them."""

QUIET, QUIET_SECONDS, QUIET_WITHIN = 0.1, 2, 120
"""When an import has settled: so little processor time is spent in so many seconds. It is waited for so long at most."""

SYNTHEA = Path(__file__).resolve().parents[2] / "shared" / "data" / "synthea" / "blaze-100"
SYNTHEA_BUNDLES = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: good answers a second, milliseconds, and processor milliseconds for each good answer."""

    name: str
    per_second: float
    p50: float
    p99: float
    refused: int
    broken: int
    server_ms: float
    database_ms: float


def main() -> int:
    """Run what was asked and print the table; fail if anything was answered wrongly."""
    options = _options()
    print(_machine(options), flush=True)
    with _folder(options) as folder:
        measured = []
        for row in _measure(options, folder):
            measured.append(row)
            print(f"  {row.name}: {row.per_second:.0f}/s", file=sys.stderr, flush=True)
    rows = _medians(measured)
    _print(rows, _ratios(measured))
    if options.json:
        report = {"machine": _machine(options), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(row.refused or row.broken for row in rows) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=500, help="patients to load, of nearly 60 resources each (500)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all loads; medians are told (3)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds for each load in each round (3)")
    parser.add_argument("--connections", type=int, default=64, help="connections of wrk (64)")
    parser.add_argument("--loaders", type=int, default=8, help="connections of the import (8)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server (2)")
    parser.add_argument("--threads", type=int, default=64, help="blocking threads of each worker (64)")
    parser.add_argument("--cliff", action="store_true", help="the searches alone, at 500, 2,000 and 8,000 patients")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this alone; can be repeated")
    parser.add_argument(
        "--proofs",
        type=int,
        nargs="?",
        const=1_000_000,
        metavar="EVENTS",
        help="also make a log of so many events (1,000,000) and ask for proofs out of it",
    )
    parser.add_argument(
        "--data-dir", type=Path, help="measure on this folder and keep it; by default a new one that goes"
    )
    parser.add_argument(
        "--no-load", action="store_true", help="load nothing: --data-dir holds patients of an earlier run"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    if options.data_dir:
        options.data_dir.mkdir(parents=True, exist_ok=True)
        yield options.data_dir.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="fhir-dmp-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    shape = Shape(options.workers, options.threads)
    if options.cliff:
        yield from _cliff(options, shape, folder)
        return
    with server(folder, shape, folder / "bench.log") as target:
        wanted = options.only or NAMES
        yield from (row for row in _table(options, target, shape, folder) if row.name in wanted)
        print(f"largest worker: {target.resident():.0f} MB resident", flush=True)
        if not options.only:
            print(bench_log.of_log(target, folder), flush=True)
        if options.proofs:
            print(bench_log.proofs(shape, folder, options.proofs), flush=True)


def _table(options: argparse.Namespace, target: Target, shape: Shape, folder: Path) -> Iterator[Row]:
    """Measure what is wanted, each for a while in every round, so that a slow minute of the machine is shared by all.

    What writes has rounds of its own after the others: they ask of as many patients in the last round as in the first.
    """
    wanted = options.only or NAMES
    if not options.no_load:
        yield _import(options, target, options.patients)
    with ExitStack() as servers:
        aims = list(_aims(wanted, options, target, shape, folder, servers))
        for writing in (False, True):
            for load, at in [aim for aim in aims if bool(aim[0].bodies) is writing] * options.rounds:
                yield _load(load, at, options, folder)
    if "Synthea, resources" in wanted and SYNTHEA.is_dir():
        yield _synthea(options, target)


def _aims(
    wanted: Sequence[str],
    options: argparse.Namespace,
    target: Target,
    shape: Shape,
    folder: Path,
    servers: ExitStack,
) -> Iterator[tuple[Load, Target]]:
    """Yield what is asked of whom, in the order of the table; ``servers`` keeps those running that are only there to compare."""
    has = bench_loads.held(target)
    loads = bench_loads.loads(has, SEED, options.patients)
    read = loads[0]
    for name in FLOORS:
        if name in wanted:
            bare = floor(folder, shape, folder / "floor.log", audited="audited" in name)
            yield replace(read, name=name), servers.enter_context(bare)
    if UNAUDITED in wanted:
        silent = unaudited(folder, shape, folder / "unaudited.log", target)
        yield replace(read, name=UNAUDITED), servers.enter_context(silent)
    yield from ((load, target) for load in loads if load.name in wanted)
    if set(bench_person.LOADS) & set(wanted):
        who = bench_person.doctor(
            target, bench_person.one_subject([bench_loads.alone(each) for each in has.bodies[:39]])
        )
        asking = replace(target, token=who.token)
        yield from ((load, asking) for load in who.loads() if load.name in wanted)


def _cliff(options: argparse.Namespace, shape: Shape, folder: Path) -> Iterator[Row]:
    """Measure the searches on servers that hold more and more patients, each in turn, so that a slow minute of the machine is shared by all."""
    with ExitStack() as servers:
        aims = []
        for count in CLIFF:
            own = folder / str(count)
            own.mkdir(exist_ok=True)
            target = servers.enter_context(server(own, shape, own / "bench.log"))
            if not options.no_load:
                _import(options, target, count, of_like_names=True)
            _settle(target)
            loads = bench_loads.loads(bench_loads.held(target), SEED, count)
            aims.append((count, target, {load.name: load for load in loads}))
        for name in SEARCHES * options.rounds:
            for count, target, loads in aims:
                yield replace(_load(loads[name], target, options, folder), name=_of(count, name))
        print(f"largest worker: {max(target.resident() for _, target, _ in aims):.0f} MB resident", flush=True)


def _of(count: int, name: str) -> str:
    return f"{name} of {count}"


def _settle(target: Target) -> None:
    """Wait until what was imported is written down and its events are sealed: what is measured would share the cores with that."""
    ends = time.monotonic() + QUIET_WITHIN
    while time.monotonic() < ends:
        before = target.cpu()
        time.sleep(QUIET_SECONDS)
        spent = target.cpu().since(before)
        if spent.server + spent.database <= QUIET:
            return


def _import(options: argparse.Namespace, target: Target, count: int, *, of_like_names: bool = False) -> Row:
    """Post bundles of so many generated patients as an EHR would."""
    bundles = list(patients(SEED, count))
    if of_like_names:
        for number, bundle in enumerate(bundles):
            for name in bundle["entry"][0]["resource"]["name"]:
                name["family"] = (BEFORE_NAMES[number // CLIFF[0]] + name["family"]).capitalize()
    _post(target.url, target.headers(), codec.dumps(directory(SEED)))
    return _posted("import, resources", [codec.dumps(bundle) for bundle in bundles], options, target)


def _synthea(options: argparse.Namespace, target: Target) -> Row:
    """Post bundles of Synthea patients; those of its hospitals and practitioners come before, and are not counted."""
    files = sorted(SYNTHEA.glob("*.json.bz2"))
    common = [file for file in files if file.name.startswith("0-")]
    for file in common:
        _post(target.url, target.headers(), bz2.decompress(file.read_bytes()))
    others = [file for file in files if file not in common][:SYNTHEA_BUNDLES]
    return _posted("Synthea, resources", [bz2.decompress(file.read_bytes()) for file in others], options, target)


def _posted(name: str, bodies: Sequence[bytes], options: argparse.Namespace, target: Target) -> Row:
    """Post transactions on several connections; the row counts resources."""
    before, began = target.cpu(), time.monotonic()
    with ThreadPoolExecutor(options.loaders) as pool:
        for first in range(0, len(bodies), BY_ONE_TOKEN):
            post = partial(_post, target.url, target.headers())
            list(pool.map(post, bodies[first : first + BY_ONE_TOKEN]))
    seconds, cpu = time.monotonic() - began, target.cpu().since(before)
    count = sum(len(json.loads(body)["entry"]) for body in bodies)
    return Row(name, count / seconds, 0, 0, 0, 0, cpu.server / count * 1000, cpu.database / count * 1000)


def _post(url: str, headers: Any, body: bytes) -> None:
    answer = requests.post(f"{url}/fhir", data=body, headers=headers, timeout=60)
    if not answer.ok:
        raise SystemExit(f"A bundle was refused: {answer.status_code} {answer.text[:500]}")


def _load(load: Load, target: Target, options: argparse.Namespace, folder: Path) -> Row:
    """Ask once to see that the answer is good, warm up for a second, then measure."""
    headers, lua = target.headers(), folder / "load.lua"
    if load.method != MIXED:
        body = load.bodies[0] if load.bodies else None
        answer = requests.request(load.method, target.url + load.paths[0], data=body, headers=headers, timeout=30)
        if not answer.ok:
            raise SystemExit(f"{load.name}: {answer.status_code} {answer.text[:500]}")
    lua.write_text(bench_wrk.script(load, headers))
    bench_wrk.run(target.url, lua, options.connections, 1)
    lua.write_text(bench_wrk.script(load, headers))  # what is new in each request is new again
    before = target.cpu()
    counted = bench_wrk.run(target.url, lua, options.connections, options.seconds)
    cpu, each = target.cpu().since(before), 1000 / max(counted.good, 1)
    return Row(
        load.name,
        counted.good / counted.seconds,
        counted.p50,
        counted.p99,
        counted.refused,
        counted.broken,
        cpu.server * each,
        cpu.database * each,
    )


def _machine(options: argparse.Namespace) -> str:
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}; {options.workers} workers x {options.threads} threads, "
        f"{options.connections} connections, {options.patients} patients, {options.rounds} x {options.seconds} s each"
    )


RATIOS = {
    "read": UNAUDITED,
    "read, consent checked": "read",
    "patient page, consent narrowed": "patient page",
    **{f"page {LATE}{order}": f"page 1{order}" for order in PAGES},
    **{_of(count, name): _of(CLIFF[0], name) for name in SEARCHES for count in CLIFF[1:]},
}
"""What a workload is held against beside the floor: what the log costs a read, Consents a person's, its place a page, and how many patients
there are a search.
"""


def _medians(measured: Sequence[Row]) -> list[Row]:
    """Return one row for each workload: the medians of its rounds, and all their errors."""
    return [
        _median([row for row in measured if row.name == name]) for name in dict.fromkeys(row.name for row in measured)
    ]


def _median(rounds: Sequence[Row]) -> Row:
    def middle(of: str) -> float:
        return median(getattr(row, of) for row in rounds)

    return Row(
        rounds[0].name,
        *(middle(of) for of in ("per_second", "p50", "p99")),
        sum(row.refused for row in rounds),
        sum(row.broken for row in rounds),
        *(middle(of) for of in ("server_ms", "database_ms")),
    )


def _ratios(measured: Sequence[Row]) -> Iterator[str]:
    """Yield what a workload keeps of another: the median of the ratios of each round."""
    for name, base in RATIOS.items():
        rounds = zip(*([row.per_second for row in measured if row.name == each] for each in (name, base)), strict=False)
        ratios = [rate / of for rate, of in rounds if of]
        if ratios:
            yield f"{name} / {base}: {median(ratios):.2f} ({', '.join(f'{each:.2f}' for each in ratios)})"


def _print(rows: Sequence[Row], ratios: Iterable[str]) -> None:
    """Print the table. The ratio is to the bare floor: how much of it is left."""
    base = next((row.per_second for row in rows if row.name == FLOORS[0]), 0.0)
    head = ("workload", "per s", "p50 ms", "p99 ms", "errors", "CPU ms server", "mongod", "of floor", "HAPI")
    widths = (30, 8, 8, 8, 7, 14, 7, 9, 8)
    print(
        "".join(
            f"{text:<{width}}" if text == "workload" else f"{text:>{width}}"
            for text, width in zip(head, widths, strict=True)
        )
    )
    for row in rows:
        cells = (
            f"{row.per_second:.0f}",
            f"{row.p50:.1f}" if row.p50 else "",
            f"{row.p99:.1f}" if row.p99 else "",
            str(row.refused + row.broken),
            f"{row.server_ms:.2f}",
            f"{row.database_ms:.2f}",
            f"{row.per_second / base:.2f}" if base and row.p50 else "",
            HAPI.get(row.name, ""),
        )
        print(f"{row.name:<30}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)))
    for line in ratios:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
