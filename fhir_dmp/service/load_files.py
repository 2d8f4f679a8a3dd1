"""What files of records hold, in pieces that are loaded each by itself: bundles, resources, some lines of NDJSON.

Files may be packed (``.gz``, ``.bz2``, ``.xz``) and lie in folders.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec

GROUP = 200
"""Resources of an NDJSON file that make one transaction."""

MOST_BYTES = 256 * 1024 * 1024
"""Of one bundle or one line, unpacked."""

_SHARED = ("hospitalInformation", "practitionerInformation", "directory")
_KINDS = (".json", ".ndjson")
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What is raised by a file that cannot be read to its end."""


def _plain(path: Path) -> Any:
    return path.open("rb")


_OPENERS: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def _bundle(raw: bytes) -> dict[str, Any]:
    try:
        tree = codec.loads_object(raw)
    except Invalid as fault:
        raise Invalid(
            f"This is no whole JSON document ({fault}). Give bundles or resources as .json, or one resource a line as .ndjson."
        ) from None
    return _executable(tree)


class Unit(Struct, frozen=True):
    """What is loaded in one piece: a bundle, read when its turn comes, or some lines of a file.

    ``lines`` are the numbers of the lines, for messages. ``last`` says that nothing of the same file follows.
    """

    name: str
    read: Callable[[], bytes]
    parse: Callable[[bytes], dict[str, Any]] = _bundle
    lines: tuple[int, ...] = ()
    last: bool = True


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
    return any(word in file.name for word in _SHARED)


def _executable(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a bundle that can be executed: a collection, or a resource by itself, becomes a transaction."""
    if not isinstance(tree.get("resourceType"), str):
        raise Invalid("This is no FHIR: it has no resourceType. Give Bundles or resources of R4 in JSON.")
    if tree["resourceType"] != "Bundle":
        return _transaction([{"resource": tree}])
    if tree.get("type") in ("transaction", "batch"):
        return tree
    entries = tree.get("entry")
    if not isinstance(entries, list):
        raise Invalid("The bundle has no entries.", expression="Bundle.entry")
    return _transaction(entries)


def _transaction(entries: Iterable[Any]) -> dict[str, Any]:
    made = [_entry(place, each) for place, each in enumerate(entries)]
    return {"resourceType": "Bundle", "type": "transaction", "entry": made}


def _entry(place: int, entry: Any) -> dict[str, Any]:
    """Return the entry as an update of the id that its resource has, or a creation; what it is called stays."""
    resource = entry.get("resource") if isinstance(entry, dict) else None
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise Invalid("There is no resource.", expression=f"Bundle.entry[{place}]")
    kind, own = resource["resourceType"], resource.get("id")
    request = {"method": "PUT", "url": f"{kind}/{own}"} if own else {"method": "POST", "url": kind}
    name = {"fullUrl": entry["fullUrl"]} if "fullUrl" in entry else {}
    return {**name, "resource": resource, "request": request}


def _kind(file: Path) -> str | None:
    suffixes = [suffix for suffix in file.suffixes if suffix not in _OPENERS]
    return suffixes[-1] if suffixes and suffixes[-1] in _KINDS else None


def units_of(files: Iterable[Path]) -> Iterator[Unit]:
    """Yield what the files hold, in their order; each is read when its turn comes."""
    for file in files:
        if _kind(file) == ".ndjson":
            yield from _groups(file)
        else:
            yield Unit(file.name, partial(_read, file))


def _groups(file: Path) -> Iterator[Unit]:
    """Yield the lines of an NDJSON file in groups; where it cannot be read on, the last unit says so.

    Lines before such a place that fill no group wait for the whole file: they are part of another group there.
    """
    group: tuple[tuple[int, bytes], ...] = ()
    try:
        with _open(file) as content:
            lines = _lines(content)
            while after := tuple(islice(lines, GROUP)):
                if group:
                    yield _group(file, group, last=False)
                group = after
    except UNREADABLE as fault:
        if group:
            yield _group(file, group, last=False)
        yield Unit(file.name, partial(_fail, fault))
    else:
        if group:
            yield _group(file, group, last=True)


def _lines(content: Any) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(iter(partial(content.readline, MOST_BYTES), b""), start=1):
        if line.strip():
            yield number, line.strip()


def _group(file: Path, group: Sequence[tuple[int, bytes]], *, last: bool) -> Unit:
    numbers = tuple(number for number, _ in group)
    raw = b"\n".join(line for _, line in group)
    name = f"{file.name} lines {numbers[0]}-{numbers[-1]}"
    return Unit(name, partial(bytes, raw), partial(_resources, numbers=numbers), numbers, last)


def _resources(raw: bytes, numbers: Sequence[int]) -> dict[str, Any]:
    """Return the transaction that the lines make."""
    entries = []
    for number, line in zip(numbers, raw.split(b"\n"), strict=True):
        try:
            entries.append({"resource": codec.loads_object(line)})
        except Invalid as fault:
            raise Invalid(f"line {number}: {fault} None of these lines is loaded.") from None
    return _transaction(entries)


def _fail(fault: Exception) -> bytes:
    raise fault


def _read(file: Path) -> bytes:
    with _open(file) as content:
        raw: bytes = content.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise Invalid(f"The file unpacks to more than {MOST_BYTES} bytes: split it, or give NDJSON.")
    return raw


def _open(file: Path) -> Any:
    return _OPENERS.get(file.suffix, _plain)(file)
