"""Bringing files of records in, through the one door.

Each bundle is remembered in its own commit by the hash of its bytes, and each entry of a batch in the entry's: what was loaded once is
passed over the next time, and a load that was cut goes on where it was. A bundle that is refused stops no other, and so does a
file that cannot be read.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

from msgspec import Struct, field

from fhir_dmp.call import Act, Call, Context, Result
from fhir_dmp.errors import Conflict, FhirError, TooMany, Unavailable
from fhir_dmp.service.load_files import UNREADABLE, Unit, is_shared, units_of

PATIENCE_SECONDS = 90.0
"""How long a load waits for a server that is busy or gone: MongoDB holds what a killed writer had begun for up to 60 s."""

_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_AHEAD = 2
"""Bundles read ahead for each thread: memory does not grow with the files."""

_PLACE = re.compile(r"Bundle\.entry\[(\d+)\]\S*")


class Door(Struct, frozen=True):
    """How a load reaches the server: the one door, who passes it, and what is known to be done."""

    perform: Callable[[Call, Context], Result]
    context: Callable[[], Context]
    has_mark: Callable[[str], bool]


class _GivenUpError(Unavailable):
    """The server has been away for so long that the load ends."""


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

    tell(map(do, units_of(shared)))
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        tell(_in_order(pool, do, units_of(others), threads * _AHEAD))
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
    except UNREADABLE as fault:
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
