"""Where signed heads are published, outside of the database that they vouch for."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fhir_dmp.audit.heads import BrokenHeadError, SignedHead

_TAIL_BYTES = 4096


class HeadsFile:
    """A file that only grows: a head on each line, on disk before ``append`` returns; 0600.

    Workers of one machine share it: each head stands in it once, in order, whoever wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, heads: Sequence[SignedHead]) -> None:
        """Add those heads that the file lacks; raise ``BrokenHeadError`` where one between is missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            last = self._last(file.fileno())
            new = [head for head in heads if last is None or head.head.number > last.head.number]
            if new and last is not None and new[0].head.previous != last.digest:
                raise BrokenHeadError(
                    f"head {new[0].head.number} does not follow on head {last.head.number} of {self.path}"
                )
            if new:
                file.write(b"".join(head.line() + b"\n" for head in new))
                file.flush()
                os.fsync(file.fileno())

    def last(self) -> SignedHead | None:
        """Return the last head of the file; a line that was cut by a crash is none."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            return self._last(file.fileno())
        return None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines; a last one that is cut short was never published."""
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def _last(self, handle: int) -> SignedHead | None:
        """Return the last whole line's head; cut what a crash left of another."""
        size = os.fstat(handle).st_size
        tail = os.pread(handle, _TAIL_BYTES, max(size - _TAIL_BYTES, 0))
        whole = tail.rfind(b"\n") + 1
        lines = tail[:whole].splitlines()
        if whole < len(tail):
            with suppress(OSError):
                os.ftruncate(handle, size - (len(tail) - whole))
        return SignedHead.from_line(lines[-1]) if lines else None
