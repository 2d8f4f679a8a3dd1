"""What an error is about: the event of what failed stands where one of what succeeds would, in the journals of those whose item it met.

https://profiles.ihe.net/ITI/BALP/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from fhir_dmp.errors import FhirError
from fhir_dmp.fhir.reference import Ref


class ToError(ABC):
    """Says more of an error that arises within it: ``with …:``."""

    def __enter__(self) -> Self:
        """Begin the work that may fail."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say it of what went wrong, if that is an error of ours."""
        if isinstance(error, FhirError):
            self.say(error)

    @abstractmethod
    def say(self, error: FhirError) -> None:
        """Say it of this error."""


class Meeting(ToError):
    """Says what an error had to do with: ``with Meeting(ref): …``, where neither the path nor the error itself does.

    A precondition, or a test of a patch, tells by an error what a read would: by criteria and in transactions no path names the item.
    """

    def __init__(self, ref: Ref | None) -> None:
        self._ref = ref

    def say(self, error: FhirError) -> None:
        """Name it for the log."""
        if self._ref is not None:
            error.met = (*error.met, str(self._ref))


class Asking(ToError):
    """Says that an error arose while the criteria of a transaction's entries were asked, one after the other: ``with Asking(): …``."""

    def say(self, error: FhirError) -> None:
        """Say it for the log."""
        error.asked = "some"


class Referring(ToError):
    """Says by what criteria a transaction refers to things, whatever becomes of it: ``with Referring(criteria): …``.

    An error tells what they met, or that they met nothing; the event of it tells what was asked. Those of its entries were asked before.
    """

    def __init__(self, criteria: Iterable[str]) -> None:
        self._criteria = criteria

    def say(self, error: FhirError) -> None:
        """Name them for the log."""
        error.referred = tuple(self._criteria)
        error.asked = "all"
