"""Measure the server: one real server on a fresh folder, generated patients, ``wrk`` beside it, and a floor of the same run.

Each figure is of this machine, with the database and the load generator on the same cores: read the ratios. Every load is bounded in time,
goes to loopback alone, and only processes started here are ended.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from joserfc.jwk import ECKey

from fhir_dmp.app import open_server
from fhir_dmp.demo.generate import directory, patients
from fhir_dmp.fhir import codec
from fhir_dmp.oauth.rfc7523 import ASSERTION_TYPE, make_assertion
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import embedded

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CODE = "http://loinc.org|718-7"
HAPI = {
    "read": 1165,
    "vread": 1624,
    "patient page": 107,
    "code search": 126,
    "create": 526,
    "transaction of 10": 116,
    "import (resources)": 825,
}
"""HAPI 8.8 on PostgreSQL, unaudited and open, measured on a machine of two cores like these."""


@dataclass
class Row:
    """One line of the table."""

    name: str
    per_second: float
    p50: float | None
    p99: float | None
    errors: int
    cpu_ms: float


@dataclass
class Target:
    """A running server: where it is, which processes are its own, and a token for it."""

    url: str
    processes: list[psutil.Process]
    token: str


def main() -> int:
    """Run what was asked and print the table."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="fhir-dmp-bench-"))
    try:
        rows = _measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(rows, options)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100, help="patients to generate, of about 60 resources each")
    parser.add_argument("--seconds", type=int, default=8, help="seconds for each workload")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=64, help="blocking threads of each worker")
    parser.add_argument("--only", help="words that a workload's name must hold")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    return parser.parse_args()


def _measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    rows: list[Row] = []
    with _server(options, folder) as target:
        rows.append(_import(options, target))
        ids = _ids(folder)
        for name, script in _workloads(ids).items():
            if not options.only or options.only in name:
                rows.append(_wrk(name, script, target, options, folder))
        with _floor(options, folder) as floor:
            floor.processes += [process for process in target.processes if process.name() == "mongod"]
            rows.insert(0, _wrk("floor: bare read", _gets([f"/fhir/{each}" for each in ids["Observation"]]), floor, options, folder))
    return rows


@contextmanager
def _server(options: argparse.Namespace, folder: Path) -> Iterator[Target]:
    port = _free_port()
    environment = {**os.environ, "DMP_THREADS": str(options.threads), "DMP_TOKEN_SECONDS": "86400"}
    command = [BIN / "fhir-dmp", "serve", "--port", str(port), "--workers", str(options.workers), "--data-dir", folder]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/readyz", process, folder / "server.log")
        token = _token(url, folder, environment)
        mongod = psutil.Process(json.loads((folder / "mongodb" / "mongod.json").read_text())["pid"])
        yield Target(url, [*_tree(process.pid), mongod], token)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _floor(options: argparse.Namespace, folder: Path) -> Iterator[Target]:
    port = _free_port()
    environment = {**os.environ, "FLOOR_URI": embedded.uri(folder), "PYTHONPATH": str(ROOT / "scripts")}
    command = [
        *(BIN / "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--no-log"),
        *("--workers", str(options.workers), "--blocking-threads", str(options.threads), "floor:app"),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, None)
        yield Target(url, _tree(process.pid), "none")
    finally:
        process.terminate()
        process.wait(30)


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        try:
            if requests.get(url, timeout=2).status_code < 500:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SystemExit(f"the server did not come up: {log.read_text()[-2000:] if log else ''}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _token(url: str, folder: Path, environment: dict[str, str]) -> str:
    """Register a backend client at the command line and get its token as SMART Backend Services do."""
    key = ECKey.generate_key("P-384")
    jwks = folder / "bench.jwks"
    jwks.write_text(json.dumps({"keys": [{**key.as_dict(private=False), "kid": "bench"}]}))
    add = ["client", "add", "bench", "--role", "ehr", "--scope", "system/*.cruds", "--jwks", str(jwks), "--data-dir", str(folder)]
    subprocess.run([BIN / "fhir-dmp", *add], check=True, env=environment, stdout=subprocess.DEVNULL)
    private = {**key.as_dict(private=True), "kid": "bench"}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": make_assertion(private, "bench", f"{url}/oauth/token"),
    }
    answer = requests.post(f"{url}/oauth/token", data=form, timeout=10)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _import(options: argparse.Namespace, target: Target) -> Row:
    """Send the patients' bundles by eight connections; the row counts resources."""
    headers = {"Authorization": f"Bearer {target.token}", "Content-Type": "application/fhir+json"}
    bundles = [codec.dumps(bundle) for bundle in patients(1, options.patients)]
    sizes = [len(bundle["entry"]) for bundle in patients(1, options.patients)]
    session = requests.Session()
    session.post(f"{target.url}/fhir", data=codec.dumps(directory(1)), headers=headers, timeout=60).raise_for_status()
    before, started = _cpu(target.processes), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: session.post(f"{target.url}/fhir", data=body, headers=headers, timeout=60), bundles))
    seconds = time.monotonic() - started
    done = sum(size for size, answer in zip(sizes, answers, strict=True) if answer.ok)
    errors = sum(not answer.ok for answer in answers)
    return Row("import (resources)", done / seconds, None, None, errors, (_cpu(target.processes) - before) / max(done, 1) * 1000)


def _ids(folder: Path) -> dict[str, list[str]]:
    """Return ids of what was loaded, read from the database itself."""
    settings = Settings(data_dir=folder, log_level="error")
    with open_server(settings) as server:
        current = server.store.database["current"]
        return {
            kind: [row["_id"] for row in current.find({"ty": kind, "del": {"$exists": False}}, {"_id": 1}).limit(2000)]
            for kind in ("Patient", "Observation")
        }


def _workloads(ids: dict[str, list[str]]) -> dict[str, str]:
    observations, people = ids["Observation"], ids["Patient"]
    return {
        "read": _gets([f"/fhir/{each}" for each in observations]),
        "vread": _gets([f"/fhir/{each}/_history/1" for each in observations]),
        "patient page": _gets([f"/fhir/Observation?patient={each}&_count=50" for each in people]),
        "code search": _gets([f"/fhir/Observation?code={CODE.replace('|', '%7C')}&_count=20"]),
        "create": _posts("/fhir/Observation", [_observation(each) for each in people[:50]]),
        "transaction of 10": _posts("/fhir", [_transaction()]),
    }


def _observation(patient: str) -> dict[str, Any]:
    found = next(
        entry["resource"]
        for entry in next(patients(7, 1))["entry"]
        if entry["resource"]["resourceType"] == "Observation"
    )
    return {**found, "subject": {"reference": patient}, "encounter": None, "performer": None}


def _transaction() -> dict[str, Any]:
    entries = next(patients(9, 1))["entry"]
    patient = {**entries[0], "request": {"method": "POST", "url": "Patient"}}
    others = [
        {**entry, "resource": {**entry["resource"], "encounter": None}}
        for entry in entries
        if entry["resource"]["resourceType"] == "Observation"
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": [patient, *others[:9]]}


def _clean(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _clean(value) for key, value in tree.items() if value is not None}
    return [_clean(each) for each in tree] if isinstance(tree, list) else tree


def _gets(paths: Sequence[str]) -> str:
    quoted = ",".join(json.dumps(path) for path in paths)
    return f"local paths = {{{quoted}}}\nlocal i = math.random(#paths)\n" + _REQUEST.format(call="wrk.format('GET', paths[i], HEADERS)", count="#paths")


def _posts(path: str, bodies: Sequence[dict[str, Any]]) -> str:
    quoted = ",".join(f"[==[{codec.dumps(_clean(body)).decode()}]==]" for body in bodies)
    call = f"wrk.format('POST', '{path}', HEADERS, bodies[i])"
    return f"local bodies = {{{quoted}}}\nlocal i = math.random(#bodies)\n" + _REQUEST.format(call=call, count="#bodies")


_REQUEST = """
function request()
  i = i % {count} + 1
  return {call}
end
function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format("RESULT %d %d %f %f %d\\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"""


def _wrk(name: str, script: str, target: Target, options: argparse.Namespace, folder: Path) -> Row:
    """Load the target for the time asked and read what wrk says."""
    path = folder / "load.lua"
    headers = f'HEADERS = {{["Authorization"] = "Bearer {target.token}", ["Content-Type"] = "application/fhir+json"}}\n'
    path.write_text(headers + script)
    command = ["wrk", "-t2", f"-c{options.connections}", f"-d{options.seconds}s", "--timeout", "10s", "-s", path, target.url]
    subprocess.run([*command[:3], "-d1s", *command[4:]], capture_output=True, check=True)
    before = _cpu(target.processes)
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = _cpu(target.processes) - before
    found = re.search(r"RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)", told)
    if found is None:
        raise SystemExit(f"wrk said nothing that can be read: {told}")
    count, micros = int(found[1]), int(found[2])
    return Row(name, count / micros * 1e6, float(found[3]) / 1000, float(found[4]) / 1000, int(found[5]), spent / max(count, 1) * 1000)


def _cpu(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        if process.is_running():
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _print(rows: Sequence[Row], options: argparse.Namespace) -> None:
    floor = rows[0].per_second if rows and rows[0].name.startswith("floor") else 0.0
    load = os.getloadavg()[0]
    print(f"{psutil.cpu_count()} cores, load {load:.1f}; {options.workers} workers x {options.threads} threads, "
          f"{options.connections} connections, {options.patients} patients, {options.seconds} s each")
    print(f"{'workload':20} {'per s':>9} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7} {'CPU ms':>7} {'/ floor':>8} {'/ HAPI':>7}")
    for row in rows:
        times = [f"{value:8.1f}" if value is not None else " " * 8 for value in (row.p50, row.p99)]
        ratio = f"{row.per_second / floor:8.2f}" if floor else ""
        anchor = HAPI.get(row.name)
        beside = f"{row.per_second / anchor:7.1f}" if anchor else ""
        print(f"{row.name:20} {row.per_second:9.0f} {times[0]} {times[1]} {row.errors:7d} {row.cpu_ms:7.2f} {ratio:>8} {beside:>7}")


if __name__ == "__main__":
    sys.exit(main())
