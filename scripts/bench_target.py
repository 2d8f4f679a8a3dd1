"""What is measured: a real server on a data folder, or a floor on its database; their processes, tokens and CPU time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from joserfc.jwk import ECKey

from fhir_dmp.oauth.rfc7523 import ASSERTION_TYPE, make_assertion
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import embedded

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Shape:
    """How a server runs: worker processes, and blocking threads in each."""

    workers: int
    threads: int


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of processor time, of the server's processes and of its mongod."""

    server: float
    database: float

    def since(self, before: Cpu) -> Cpu:
        """Return what was spent since."""
        return Cpu(self.server - before.server, self.database - before.database)


class Registry:
    """The clients that the benchmark registers at the command line, and removes when it is done."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._names: list[str] = []

    def command(self, *words: str, typed: str | None = None) -> str:
        """Run a command of the server and return what it printed; raise ``SystemExit`` if it fails."""
        done = subprocess.run(
            [BIN / "fhir-dmp", *words, "--data-dir", self._folder],
            env=self._environment,
            input=f"{typed}\n" if typed else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"fhir-dmp {' '.join(words[:2])}: {done.stderr}")
        return done.stdout

    def client(self, url: str, role: str) -> Callable[[], str]:
        """Register a backend client, and return how it gets a token: as SMART Backend Services do."""
        name = f"bench-{role}"
        key = ECKey.generate_key("P-384")
        jwks = self._folder / f"{name}.jwks"
        jwks.write_text(json.dumps({"keys": [{**key.as_dict(private=False), "kid": name}]}))
        private = {**key.as_dict(private=True), "kid": name}

        def token() -> str:
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": make_assertion(private, name, f"{url}/oauth/token"),
            }
            answer = requests.post(f"{url}/oauth/token", data=form, timeout=10)
            if not answer.ok:
                raise SystemExit(f"No token: {answer.text}")
            return str(answer.json()["access_token"])

        if name in self.command("client", "list").split():
            self.command("client", "remove", name)
        self.command("client", "add", name, "--role", role, "--scope", "system/*.cruds", "--jwks", str(jwks))
        self._names.append(name)
        return token

    def close(self) -> None:
        """Remove the clients."""
        for name in self._names:
            (self._folder / f"{name}.jwks").unlink()
            self.command("client", "remove", name)


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: where it is, its processes, and how to get a token for it."""

    url: str
    process: psutil.Process
    mongod: psutil.Process
    token: Callable[[], str]
    registry: Registry | None = None

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a client of FHIR, with a new token."""
        return {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/fhir+json"}

    def another(self, role: str) -> Mapping[str, str]:
        """Return the headers of another client, of this role."""
        token = self._registry.client(self.url, role)
        return {"Authorization": f"Bearer {token()}", "Content-Type": "application/fhir+json"}

    def command(self, *words: str, typed: str | None = None) -> str:
        """Run a command of the server and return what it printed."""
        return self._registry.command(*words, typed=typed)

    @property
    def _registry(self) -> Registry:
        if self.registry is None:
            raise ValueError("a floor has no clients")
        return self.registry

    def cpu(self) -> Cpu:
        """Return what was spent until now."""
        return Cpu(sum(map(_spent, [self.process, *self.process.children(recursive=True)])), _spent(self.mongod))

    def resident(self) -> float:
        """Return the megabytes that the largest of the server's processes holds in memory."""
        return max(each.memory_info().rss for each in self.process.children(recursive=True)) / 1_000_000


def _spent(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


@contextmanager
def server(folder: Path, shape: Shape, log: Path) -> Iterator[Target]:
    """Yield ``fhir-dmp serve`` on the folder, with its default settings and a backend client of ours."""
    with _mongod_ended(folder), _serving(folder, folder, shape, log, {}) as target:
        yield target


@contextmanager
def serving(settings: Settings, folder: Path, shape: Shape, log: Path) -> Iterator[Target]:
    """Yield ``fhir-dmp serve`` with these settings, which are of another database of the mongod that runs on the folder."""
    with _serving(settings.data_dir, folder, shape, log, settings.to_env()) as target:
        yield target


@contextmanager
def _serving(own: Path, folder: Path, shape: Shape, log: Path, settings: Mapping[str, str]) -> Iterator[Target]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = _environment(**{**settings, "DMP_PUBLIC_URL": "", "DMP_THREADS": str(shape.threads)})
    command = [BIN / "fhir-dmp", "serve", "--port", port, "--workers", shape.workers, "--data-dir", own]
    with log.open("w") as told, _started(command, environment, told) as process:
        _wait(f"{url}/readyz", process, log)
        registry = Registry(own, environment)
        try:
            token = registry.client(url, "ehr")
            yield Target(url, psutil.Process(process.pid), _mongod(folder), token, registry)
        finally:
            registry.close()


@contextmanager
def floor(folder: Path, shape: Shape, log: Path, *, audited: bool) -> Iterator[Target]:
    """Yield a bare WSGI function on the database of the server that runs on the folder."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = _environment(
        FLOOR_URI=embedded.uri(folder),
        FLOOR_DATABASE=Settings().mongodb_database,
        FLOOR_AUDITED="yes" if audited else "",
        PYTHONPATH=str(ROOT / "scripts"),
    )
    with log.open("w") as told, _started(_floor(port, shape), environment, told) as process:
        _wait(url, process, log)
        yield Target(url, psutil.Process(process.pid), _mongod(folder), lambda: "none")


@contextmanager
def unaudited(folder: Path, shape: Shape, log: Path, audited: Target) -> Iterator[Target]:
    """Yield the server as it is, but for what makes the events of reads durable; it takes the tokens of the audited one."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = _environment(DMP_DATA_DIR=str(folder), DMP_PUBLIC_URL=audited.url, DMP_THREADS=str(shape.threads))
    command = [sys.executable, ROOT / "scripts" / "bench_unaudited.py", port, shape.workers]
    with log.open("w") as told, _started(command, environment, told) as process:
        _wait(f"{url}/readyz", process, log)
        yield Target(url, psutil.Process(process.pid), _mongod(folder), audited.token)


def _floor(port: int, shape: Shape) -> list[object]:
    return [
        *(BIN / "granian", "--host", "127.0.0.1", "--port", port, "--backlog", 2048),
        *("--workers", shape.workers, "--factory"),
        *("--interface", "wsgi", "--blocking-threads", shape.threads, "bench_floor:create"),
    ]


def _environment(**own: str) -> dict[str, str]:
    """Return the environment without settings of the server: what is measured are the defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DMP_")} | own


@contextmanager
def _started(command: list[object], environment: Mapping[str, str], told: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(part) for part in command], env=environment, stdout=told, stderr=told, cwd=ROOT)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()


@contextmanager
def _mongod_ended(folder: Path) -> Iterator[None]:
    """Leave with the server's mongod ended, even if the server could not end it."""
    try:
        yield
    finally:
        if sys.exc_info()[0] is not None:
            with suppress(FileNotFoundError, psutil.NoSuchProcess):
                _mongod(folder).terminate()


def _mongod(folder: Path) -> psutil.Process:
    return psutil.Process(json.loads((folder / "mongodb" / "mongod.json").read_text())["pid"])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            if requests.get(url, timeout=2).status_code < 500:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} did not come up: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
