"""Kills the database and the workers with -9 under load, and counts what an auditor would: lost, broken, doubled.

A server of its own on a folder of its own, clients that create, read, search and are refused, each request with an id that
its event must carry. An act is acknowledged when a whole answer came that is not 503. Afterwards the log is verified against
its published heads, and each acknowledged act is looked for in it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pymongo
import requests
from joserfc.jwk import ECKey

from fhir_dmp.stores.mongo import embedded
from fhir_dmp.stores.mongo.block_rows import rows_in
from fhir_dmp.stores.mongo.documents import months

COMMAND = (sys.executable, "-m", "fhir_dmp.cli")
PATIENT = {"resourceType": "Patient", "name": [{"family": "Durand"}]}
READY_SECONDS = 60
YOUNG_SECONDS = 6
"""A worker that dies sooner is taken for one in a loop of crashes: the server ends then, for its keeper to look."""


@dataclass
class Server:
    """A server process, its folder and its URL."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path) -> Server:
        """Start the server with two workers, and wait until it is ready."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        words = (*COMMAND, "serve", "--port", str(port), "--workers", "2", "--data-dir", str(folder))
        with (folder / "server.log").open("a") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "DMP_TOKEN_SECONDS": "3600"})
        server = cls(folder, f"http://127.0.0.1:{port}", process)
        server.wait_until_ready()
        return server

    def ready(self) -> bool:
        """Tell whether the server takes work."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def wait_until_ready(self) -> None:
        """Return once the server takes work; end the run if it does not come back."""
        ends = time.monotonic() + READY_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > ends:
                log = (self.folder / "server.log").read_text()[-4000:]
                sys.exit(f"The server does not come back ({self.process.poll()}); the end of its log:\n{log}")
            time.sleep(0.1)

    def command(self, *words: str) -> str:
        """Run a command beside the server; return what it prints."""
        done = subprocess.run(
            (*COMMAND, *words, "--data-dir", str(self.folder)),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout.strip()

    def database_pid(self) -> int:
        """Return the pid of the server's mongod."""
        return int(json.loads((self.folder / "mongodb" / "mongod.json").read_text())["pid"])

    def worker_pids(self) -> list[int]:
        """Return the pids of those workers that are old enough to be killed."""
        children = psutil.Process(self.process.pid).children()
        workers = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
        return [child.pid for child in workers if time.time() - child.create_time() > YOUNG_SECONDS]

    def stop(self) -> None:
        """Stop the server and what it started."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass
class Load:
    """Clients that ask until they are told to stop, and remember what was acknowledged."""

    server: Server
    token: str
    acknowledged: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, client: int) -> None:
        """Ask one thing after the other, as one client."""
        chance = random.Random(client)  # noqa: S311 - what is asked need not be a secret
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self.token}"
            number = 0
            while not self.over.is_set():
                number += 1
                self._ask(session, f"chaos-{client}-{number}", chance)

    def _ask(self, session: requests.Session, request_id: str, chance: random.Random) -> None:
        method, path, body = self._what(chance)
        try:
            answer = session.request(
                method, f"{self.server.url}/fhir{path}", json=body, headers={"X-Request-Id": request_id}, timeout=20
            )
            told = answer.json()
        except (requests.RequestException, ValueError):
            self.statuses["no answer"] += 1
            time.sleep(0.05)
            return
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code == 503:
            time.sleep(0.05)
            return
        self.acknowledged.append(request_id)
        if method == "POST" and answer.status_code == 201:
            self.created.append(told["id"])

    def _what(self, chance: random.Random) -> tuple[str, str, Any]:
        """Return what to ask: half writes, and reads, searches and what is refused."""
        kind = chance.random()
        if kind < 0.5 or not self.created:
            return "POST", "/Patient", PATIENT
        if kind < 0.8:
            return "GET", f"/Patient/{self.created[chance.randrange(len(self.created))]}", None
        if kind < 0.9:
            return "GET", "/Patient?family=Durand&_count=2", None
        return "GET", "/Patient/nobody", None


def _workers(server: Server) -> list[int]:
    """Return workers that can be killed, once there are any."""
    while not (found := server.worker_pids()):
        time.sleep(0.5)
    return found


def kill(server: Server, times: int, seconds: float, say: Callable[[str], None]) -> Counter[str]:
    """Kill in turn the database, a worker, and both, each time after some seconds of work."""
    killed: Counter[str] = Counter()
    for turn in range(times):
        time.sleep(seconds)
        victims = []
        if turn % 3 != 1:
            victims.append(("mongod", server.database_pid()))
        if turn % 3 != 0:
            victims.append(("worker", random.choice(_workers(server))))  # noqa: S311 - any will do
        for what, pid in victims:
            os.kill(pid, signal.SIGKILL)
            killed[what] += 1
        say(f"{turn + 1}/{times}: killed {' and '.join(what for what, _ in victims)}")
        server.wait_until_ready()
    return killed


def rows_of(server: Server) -> Iterator[dict[str, Any]]:
    """Yield what the rows of the log say."""
    with pymongo.MongoClient[dict[str, Any]](embedded.uri(server.folder)) as client:
        log = client["fhir_dmp_log"]
        for month in months(log):
            for document in log[month].find():
                yield from (json.loads(row.body) for row in rows_in(document, month))


def resources_of(server: Server) -> set[str]:
    """Return the ids of the patients that are stored."""
    with pymongo.MongoClient[dict[str, Any]](embedded.uri(server.folder)) as client:
        rows = client["fhir_dmp"]["current"].find({"ty": "Patient"}, {"_id": 1})
        return {row["_id"].partition("/")[2] for row in rows}


def verified(server: Server) -> tuple[bool, str]:
    """Return whether the log verifies, and what the verifier says, once all rows have their leaf."""
    ends = time.monotonic() + 90
    while True:
        done = subprocess.run(
            (*COMMAND, "audit", "verify", "--data-dir", str(server.folder)), capture_output=True, text=True, check=False
        )
        if done.returncode or "wait for" not in done.stdout or time.monotonic() > ends:
            return done.returncode == 0, (done.stdout + done.stderr).strip()
        time.sleep(1)


def main() -> int:
    """Run the chaos and print the counts; return 1 if anything was lost, broken or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=21, help="how often to kill (default: 21)")
    parser.add_argument("--clients", type=int, default=32, help="clients that ask at once (default: 32)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of work between two kills (default: 2)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fhir-dmp-chaos-") as folder:
        server = Server.start(Path(folder))
        try:
            return run(server, asked)
        finally:
            server.stop()


def run(server: Server, asked: argparse.Namespace) -> int:
    """Load, kill, and count."""
    keys = server.folder / "keys.json"
    keys.write_text(json.dumps({"keys": [{**ECKey.generate_key("P-384").as_dict(private=False), "kid": "chaos"}]}))
    scope = "system/*.cruds"
    server.command(
        "client", "add", "chaos", "--role", "ehr", "--scope", scope, "--organization", "urn:x|1", "--jwks", str(keys)
    )
    load = Load(server, server.command("token", "chaos"))
    threads = [threading.Thread(target=load.run, args=(client,), daemon=True) for client in range(asked.clients)]
    for thread in threads:
        thread.start()
    killed = kill(server, asked.kills, asked.seconds, lambda line: print(line, flush=True))
    time.sleep(asked.seconds)
    load.over.set()
    for thread in threads:
        thread.join(60)
    whole, told = verified(server)
    events = Counter(row.get("requestId", "") for row in rows_of(server))
    ids = Counter(row["id"] for row in rows_of(server))
    stored = resources_of(server)
    lost = [each for each in load.acknowledged if not events[each]]
    vanished = [each for each in load.created if each not in stored]
    doubled = [each for each in load.acknowledged if events[each] > 1]
    repeated = [each for each, times in ids.items() if times > 1]
    print(
        f"clients                                {asked.clients}",
        f"kills                                  {sum(killed.values())} ({dict(killed)})",
        f"answers                                {dict(sorted(load.statuses.items()))}",
        f"acknowledged acts                      {len(load.acknowledged)}",
        f"events in the log                      {sum(events.values())}",
        f"acknowledged acts without their event  {len(lost)}",
        f"acknowledged records that are gone     {len(vanished)}",
        f"acts with more than one event          {len(doubled)}",
        f"events stored twice                    {len(repeated)}",
        f"chains and tree                        {'whole' if whole else 'BROKEN'}",
        told,
        sep="\n",
    )
    return int(bool(lost or vanished or doubled or repeated or not whole or not load.acknowledged))


if __name__ == "__main__":
    sys.exit(main())
