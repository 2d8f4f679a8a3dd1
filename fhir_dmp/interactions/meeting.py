"""What an error is about: the event of what failed stands where one of what succeeds would, in the journals of those whose item it met.

https://profiles.ihe.net/ITI/BALP/.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from fhir_dmp.errors import FhirError
from fhir_dmp.fhir.reference import Ref


class Meeting:
    """Says what an error had to do with: ``with Meeting(ref): …``, where neither the path nor the error itself does.

    A precondition, or a test of a patch, tells by an error what a read would: by criteria and in transactions no path names the item.
    """

    def __init__(self, ref: Ref | None) -> None:
        self._ref = ref

    def __enter__(self) -> None:
        """Begin the work on what is there."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name it for the log."""
        if self._ref is not None and isinstance(error, FhirError):
            error.met = (*error.met, str(self._ref))


class Asking:
    """Says that an error arose while the criteria of a transaction's entries were asked, one after the other: ``with Asking(): …``."""

    def __enter__(self) -> None:
        """Begin to ask."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say it for the log."""
        if isinstance(error, FhirError):
            error.asked = "some"


class Referring:
    """Says by what criteria a transaction refers to things, whatever becomes of it: ``with Referring(criteria): …``.

    An error tells what they met, or that they met nothing; the event of it tells what was asked. Those of its entries were asked before.
    """

    def __init__(self, criteria: Iterable[str]) -> None:
        self._criteria = criteria

    def __enter__(self) -> None:
        """Begin the work on what refers."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name them for the log."""
        if isinstance(error, FhirError):
            error.referred = tuple(self._criteria)
            error.asked = "all"
