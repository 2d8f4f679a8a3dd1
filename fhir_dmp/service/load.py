"""Bringing files of records in, through the one door. Bundles, NDJSON, ``.gz`` ``.bz2`` ``.xz``, folders.

Each bundle is remembered in its own commit by the hash of its bytes, and each entry of a batch in the entry's: what was loaded once is
passed over the next time, and a load that was cut goes on where it was. A bundle that is refused stops no other, and so does a
file that cannot be read.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fhir_dmp.call import Act, Call, Context, Result
from fhir_dmp.errors import Conflict, FhirError, Invalid, TooMany, Unavailable
from fhir_dmp.fhir import codec

GROUP = 200
"""Resources of an NDJSON file that make one transaction."""

MOST_BYTES = 256 * 1024 * 1024
PATIENCE_SECONDS = 90.0
"""How long a load waits for a server that is busy or gone: MongoDB holds what a killed writer had begun for up to 60 s."""

_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_AHEAD = 2
"""Bundles read ahead for each thread: memory does not grow with the files."""

_SHARED = ("hospitalInformation", "practitionerInformation", "directory")
_KINDS = (".json", ".ndjson")
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)
_PLACE = re.compile(r"Bundle\.entry\[(\d+)\]\S*")


def _plain(path: Path) -> Any:
    return path.open("rb")


_OPENERS: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Door(Struct, frozen=True):
    """How a load reaches the server: the one door, who passes it, and what is known to be done."""

    perform: Callable[[Call, Context], Result]
    context: Callable[[], Context]
    has_mark: Callable[[str], bool]


class _GivenUpError(Unavailable):
    """The server has been away for so long that the load ends."""


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


class Outcome(Struct, frozen=True):
    """What became of one unit; ``resources`` counts what this load wrote, ``last`` that its file is done."""

    name: str
    resources: int = 0
    skipped: bool = False
    error: str | None = None
    last: bool = True


Progress = Callable[[Outcome], None]


class Summary(Struct):
    """What became of a load."""

    resources: int = 0
    bundles: int = 0
    skipped: int = 0
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one unit."""
        self.resources += outcome.resources
        if outcome.error is not None:
            self.failed.append(outcome)
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.bundles += 1


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


def load(files: Sequence[Path], door: Door, progress: Progress, threads: int = 4) -> Summary:
    """Load the files and return what became of them; ``progress`` hears of each unit as it is done."""
    summary = Summary()
    shared = [file for file in files if is_shared(file)]
    others = [file for file in files if not is_shared(file)]
    do = partial(load_unit, door=door)

    def tell(outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            summary.add(outcome)
            progress(outcome)

    tell(map(do, _units(shared)))
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        tell(_in_order(pool, do, _units(others), threads * _AHEAD))
    return summary


def _in_order(
    pool: ThreadPoolExecutor, do: Callable[[Unit], Outcome], units: Iterable[Unit], most: int
) -> Iterator[Outcome]:
    """Yield the outcomes in the order of the units, of which no more than ``most`` are under way."""
    under_way: deque[Future[Outcome]] = deque()
    for unit in units:
        under_way.append(pool.submit(do, unit))
        if len(under_way) >= most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def load_unit(unit: Unit, door: Door) -> Outcome:
    """Load one unit, unless it was loaded before; say what is wrong with it, if anything is.

    Raises ``Unavailable`` when the server is away for longer than a load waits.
    """
    try:
        raw = unit.read()
        mark = hashlib.sha256(raw).hexdigest()
        bundle = cache(partial(unit.parse, raw))

        def send() -> Result | None:
            if door.has_mark(mark):
                return None
            return door.perform(Call("bundle", body=bundle(), mark=mark), door.context())

        result = _patiently(send)
    except _GivenUpError:
        raise
    except FhirError as error:
        return Outcome(unit.name, error=_text(error, unit), last=unit.last)
    except _UNREADABLE as fault:
        return Outcome(unit.name, error=f"The file cannot be read to its end: {fault}.", last=unit.last)
    if result is None:
        return Outcome(unit.name, skipped=True, last=unit.last)
    if bundle()["type"] == "batch":
        return _of_batch(unit, result.entries)
    return Outcome(unit.name, len(bundle().get("entry", ())), last=unit.last)


def _patiently(send: Callable[[], Result | None]) -> Result | None:
    """Return what ``send`` does, done again while the server is busy or gone; raise ``_GivenUpError`` when patience ends."""
    ends, pause = time.monotonic() + PATIENCE_SECONDS, _PAUSE_SECONDS
    while True:
        over = time.monotonic() + pause > ends
        try:
            result = send()
        except (Conflict, TooMany):
            if over:
                raise
        except Unavailable as error:
            if over:
                raise _GivenUpError(
                    f"{error} Run the same command again later: what is loaded is passed over."
                ) from None
        else:
            if over or result is None or not any(isinstance(act.error, TooMany) for act in result.entries):
                return result
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _of_batch(unit: Unit, acts: Sequence[Act]) -> Outcome:
    """Return the outcome of a batch, whose entries fail by themselves."""
    failed = [(place, act.error) for place, act in enumerate(acts) if act.error is not None]
    written = sum(1 for act in acts if act.result is not None and act.result.outcome in ("created", "ok"))
    if not failed:
        return Outcome(unit.name, written, last=unit.last)
    place, first = failed[0]
    text = (
        f"{len(failed)} of {len(acts)} entries were refused, the others are loaded. Entry {place}: {_text(first, unit)}"
    )
    return Outcome(unit.name, written, error=text, last=unit.last)


def _text(error: FhirError, unit: Unit) -> str:
    """Return what is wrong in one line, with the number of the file's line where there is one."""
    issue, more = error.issues[0], len(error.issues) - 1
    text = f"{issue.expression or ''} {issue.text}".strip()
    if unit.lines:
        text = _PLACE.sub(lambda found: f"line {unit.lines[int(found[1])]}:", text)
    return f"{text} (and {more} more)" if more else text


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


def _units(files: Iterable[Path]) -> Iterator[Unit]:
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
    except _UNREADABLE as fault:
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
