"""Bringing files of records in, through the one door. Bundles, NDJSON, ``.gz`` ``.bz2`` ``.xz``, folders.

Each bundle is remembered in its own commit by the hash of its bytes: what was loaded once is passed over the next time, and a load that
was cut goes on where it was. A bundle that is refused stops no other.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fhir_dmp.call import Call, Context, Result
from fhir_dmp.errors import FhirError, Invalid, TooMany, Unavailable
from fhir_dmp.fhir import codec

Perform = Callable[[Call, Context], Result]
Progress = Callable[["Outcome"], None]
GROUP = 200
"""Resources of an NDJSON file that make one transaction."""

MOST_BYTES = 256 * 1024 * 1024


def _plain(path: Path) -> Any:
    return path.open("rb")


_OPENERS: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Unit:
    """One bundle of a file: its name, its hash and its content, read when its turn comes."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one bundle."""

    name: str
    resources: int = 0
    skipped: bool = False
    error: str | None = None


@dataclass(slots=True)
class Summary:
    """What became of a load."""

    resources: int = 0
    bundles: int = 0
    skipped: int = 0
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one bundle."""
        if outcome.error is not None:
            self.failed.append(outcome)
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.bundles += 1
            self.resources += outcome.resources


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files to load, folders opened; those that others refer to (hospitals, practitioners) come first."""
    files = [
        file
        for path in paths
        for file in (sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path])
        if path.is_file() or _kind(file) is not None
    ]
    return sorted(files, key=lambda file: (not is_shared(file), str(file)))


def is_shared(file: Path) -> bool:
    """Tell whether a file holds what the records of patients refer to."""
    return any(word in file.name for word in ("hospitalInformation", "practitionerInformation", "directory"))


def load(
    files: Sequence[Path],
    perform: Perform,
    context: Callable[[], Context],
    has_mark: Callable[[str], bool],
    progress: Progress,
    threads: int = 4,
) -> Summary:
    """Load the files and return what became of them; ``progress`` hears of each bundle as it is done."""
    shared = [file for file in files if is_shared(file)]
    others = [file for file in files if not is_shared(file)]
    summary = Summary()

    def one(unit: Unit) -> Outcome:
        return load_bundle(unit.name, unit.read, perform, context, has_mark)

    def tell(outcome: Outcome) -> None:
        summary.add(outcome)
        progress(outcome)

    for unit in _units(shared):
        tell(one(unit))
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        for outcome in pool.map(one, _units(others)):
            tell(outcome)
    return summary


def load_bundle(
    name: str,
    read: Callable[[], bytes],
    perform: Perform,
    context: Callable[[], Context],
    has_mark: Callable[[str], bool],
) -> Outcome:
    """Load one bundle, unless it was loaded before."""
    try:
        raw = read()
        mark = hashlib.sha256(raw).hexdigest()
        if has_mark(mark):
            return Outcome(name, skipped=True)
        bundle = _executable(codec.loads_object(raw))
        size = len(bundle.get("entry", ()))
        for _ in range(_ATTEMPTS - 1):
            try:
                perform(Call("bundle", body=bundle, mark=mark), context())
                return Outcome(name, size)
            except (TooMany, Unavailable):
                continue
        perform(Call("bundle", body=bundle, mark=mark), context())
        return Outcome(name, size)
    except FhirError as error:
        issue = error.issues[0]
        return Outcome(name, error=f"{issue.expression or ''} {issue.text}".strip())
    except (OSError, EOFError, lzma.LZMAError) as fault:
        return Outcome(name, error=f"cannot be read: {fault}")


def _executable(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a bundle that can be executed: a collection, or a resource by itself, becomes a transaction of updates."""
    if tree.get("resourceType") != "Bundle":
        return _transaction([tree])
    if tree.get("type") in ("transaction", "batch"):
        return tree
    entries = tree.get("entry")
    if not isinstance(entries, list):
        raise Invalid("The bundle has no entries.", expression="Bundle.entry")
    return _transaction([entry.get("resource") for entry in entries if isinstance(entry, dict)])


def _transaction(resources: Sequence[Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": [_entry(each) for each in resources]}


def _entry(resource: Any) -> dict[str, Any]:
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise Invalid("An entry holds no resource.", expression="Bundle.entry.resource")
    kind, own = resource["resourceType"], resource.get("id")
    request = {"method": "PUT", "url": f"{kind}/{own}"} if own else {"method": "POST", "url": kind}
    return {"resource": resource, "request": request}


def _kind(file: Path) -> str | None:
    suffixes = [suffix for suffix in file.suffixes if suffix not in _OPENERS]
    return suffixes[-1] if suffixes and suffixes[-1] in (".json", ".ndjson") else None


def _units(files: Iterable[Path]) -> Iterator[Unit]:
    for file in files:
        if _kind(file) == ".ndjson":
            yield from _groups(file)
        else:
            yield Unit(file.name, lambda file=file: _read(file))  # type: ignore[misc]


def _groups(file: Path) -> Iterator[Unit]:
    lines: list[bytes] = []
    number = 0
    opener = _OPENERS.get(file.suffix, _plain)
    with opener(file) as content:
        for line in content:
            if line.strip():
                lines.append(line.strip())
            if len(lines) == GROUP:
                number += 1
                yield _group(file, number, lines)
                lines = []
    if lines:
        yield _group(file, number + 1, lines)


def _group(file: Path, number: int, lines: list[bytes]) -> Unit:
    whole = (
        b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":' + b'},{"resource":'.join(lines) + b"}]}"
    )
    return Unit(f"{file.name} part {number}", lambda: whole)


def _read(file: Path) -> bytes:
    opener = _OPENERS.get(file.suffix, _plain)
    with opener(file) as content:
        raw: bytes = content.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise Invalid(f"The file unpacks to more than {MOST_BYTES} bytes.")
    return raw
