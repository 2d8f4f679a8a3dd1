"""Measure the server: a real one on a folder of its own, generated patients, ``wrk`` beside it, and two floors of the same run.

The load generator, the server and the database share this machine's cores: read the ratios. Every load is bounded in time and
goes to loopback alone, and only processes started here are ended. A figure counts good answers alone; errors stand beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bench_wrk
import requests
from bench_target import Shape, Target, floor, server
from bench_wrk import Load

from fhir_dmp.demo.generate import directory, patients
from fhir_dmp.fhir import codec

SEED = 1
FLOORS = ("floor", "floor, audited")
HAPI = {
    "read": "1165",
    "patient page": "107",
    "code search": "126",
    "create": "526",
    "transaction of 10": "116",
    "import, resources": "720-930",
}
"""HAPI 8.8 on PostgreSQL, unaudited and open, measured on a machine of two cores; its patient page had 39 rows too."""

NAMES = ("import, resources", *FLOORS, "read", "vread", "patient page", "code search", "create", "transaction of 10")

Json = dict[str, Any]


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
        rows = []
        for row in _measure(options, folder):
            rows.append(row)
            print(f"  {row.name}: {row.per_second:.0f}/s", file=sys.stderr, flush=True)
    _print(rows)
    if options.json:
        report = {"machine": _machine(options), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(row.refused or row.broken for row in rows) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100, help="patients to load, of about 61 resources each (100)")
    parser.add_argument("--seconds", type=int, default=8, help="seconds for each load (8)")
    parser.add_argument("--connections", type=int, default=64, help="connections of wrk (64)")
    parser.add_argument("--loaders", type=int, default=8, help="connections of the import (8)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server (2)")
    parser.add_argument("--threads", type=int, default=64, help="blocking threads of each worker (64)")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this alone; can be repeated")
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
    wanted = options.only or NAMES
    shape, log = Shape(options.workers, options.threads), folder / "bench.log"
    with server(folder, shape, log) as target:
        if not options.no_load:
            row = _import(options, target)
            if row.name in wanted:
                yield row
        loads = _loads(target, options)
        for name in FLOORS:
            if name in wanted:
                with floor(folder, shape, folder / "floor.log", audited="audited" in name) as bare:
                    yield _load(replace(loads[0], name=name), bare, options, folder)
        for load in loads:
            if load.name in wanted:
                yield _load(load, target, options, folder)


def _import(options: argparse.Namespace, target: Target) -> Row:
    """Post the patients' bundles as an EHR would; the row counts resources, and bundles as errors."""
    bundles = list(patients(SEED, options.patients))
    _post(target.url, codec.dumps(directory(SEED)), target.headers())
    bodies, headers = [codec.dumps(bundle) for bundle in bundles], target.headers()
    before, began = target.cpu(), time.monotonic()
    with ThreadPoolExecutor(options.loaders) as pool:
        list(pool.map(lambda body: _post(target.url, body, headers), bodies))
    seconds, cpu = time.monotonic() - began, target.cpu().since(before)
    count = sum(len(bundle["entry"]) for bundle in bundles)
    return Row("import, resources", count / seconds, 0, 0, 0, 0, cpu.server / count * 1000, cpu.database / count * 1000)


def _post(url: str, body: bytes, headers: Any) -> None:
    answer = requests.post(f"{url}/fhir", data=body, headers=headers, timeout=60)
    if not answer.ok:
        raise SystemExit(f"A bundle was refused: {answer.status_code} {answer.text[:500]}")


def _loads(target: Target, options: argparse.Namespace) -> list[Load]:
    """Return the loads on what the server holds, the plain read first."""
    people, observations = _ids(target, "Patient"), _ids(target, "Observation")
    bundles = list(patients(SEED, options.patients + 50))[-50:]
    return [
        Load("read", [f"/fhir/{name}" for name in observations]),
        Load("vread", [f"/fhir/{name}/_history/1" for name in observations]),
        Load("patient page", [f"/fhir/Observation?patient={name}&_count=50" for name in people]),
        Load("code search", [f"/fhir/Observation?code={quote(code)}&_count=20" for code in _codes(bundles)]),
        Load("create", ["/fhir/Observation"], [_observation(bundle, people[0]) for bundle in bundles]),
        Load("transaction of 10", ["/fhir"], [_transaction(bundle) for bundle in bundles]),
    ]


def _ids(target: Target, kind: str, most: int = 5000) -> list[str]:
    """Return names of resources, as the server pages through them."""
    found: list[str] = []
    url: str | None = f"{target.url}/fhir/{kind}?_count=500"
    headers = target.headers()
    while url and len(found) < most:
        page = requests.get(url, headers=headers, timeout=30).json()
        found += [f"{kind}/{entry['resource']['id']}" for entry in page.get("entry", ())]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    if not found:
        raise SystemExit(f"The folder holds no {kind}: leave out --no-load.")
    return found


def _observations(bundle: Json) -> Iterator[Json]:
    return (entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Observation")


def _codes(bundles: Sequence[Json]) -> list[str]:
    """Return the codes that patients have most, each with many more rows than a page."""
    codings = (entry["resource"]["code"]["coding"][0] for bundle in bundles for entry in _observations(bundle))
    return [code for code, _ in Counter(f"{each['system']}|{each['code']}" for each in codings).most_common(10)]


def _alone(resource: Json) -> Json:
    """Return the resource without its visit, which is not sent along."""
    return {name: value for name, value in resource.items() if name != "encounter"}


def _observation(bundle: Json, patient: str) -> bytes:
    found = next(_observations(bundle))["resource"]
    return codec.dumps({**_alone(found), "subject": {"reference": patient}})


def _transaction(bundle: Json) -> bytes:
    patient = {**bundle["entry"][0], "request": {"method": "POST", "url": "Patient"}}
    others = [{**entry, "resource": _alone(entry["resource"])} for entry in _observations(bundle)][:9]
    return codec.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [patient, *others]})


def _load(load: Load, target: Target, options: argparse.Namespace, folder: Path) -> Row:
    """Ask once to see that the answer is good, warm up for a second, then measure."""
    headers, lua = target.headers(), folder / "load.lua"
    body = load.bodies[0] if load.bodies else None
    answer = requests.request(load.method, target.url + load.paths[0], data=body, headers=headers, timeout=30)
    if not answer.ok:
        raise SystemExit(f"{load.name}: {answer.status_code} {answer.text[:500]}")
    lua.write_text(bench_wrk.script(load, headers))
    bench_wrk.run(target.url, lua, options.connections, 1)
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
        f"{options.connections} connections, {options.patients} patients, {options.seconds} s each"
    )


def _print(rows: Sequence[Row]) -> None:
    """Print the table. The ratio is to the bare floor: how much of it is left."""
    base = next((row.per_second for row in rows if row.name == FLOORS[0]), 0.0)
    head = ("workload", "per s", "p50 ms", "p99 ms", "errors", "CPU ms server", "mongod", "of floor", "HAPI")
    widths = (18, 8, 8, 8, 7, 14, 7, 9, 8)
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
        print(f"{row.name:<18}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)))


if __name__ == "__main__":
    sys.exit(main())
