"""What one AuditEvent is made from: a part of a row, the line of the table for it, and what its reader may see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from fhir_dmp.audit.kinds import Kind
from fhir_dmp.audit.parts import Part, Row, hidden_names

Language = Literal["fr", "en"]
MASKED: dict[str, Any] = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]
}
"""Stands for what a reader may not know."""


class View(Struct, frozen=True):
    """What a reader may see of an AuditEvent.

    ``sees`` tells of a resource (``Type/id``) whether the reader may know that it was touched; ``values`` whether what a request asked
    for is told, ``sealed`` whether what lies beside the row is (clinical values of the request, the reason for breaking the glass),
    ``reason`` whether the reason alone is. ``own``: it was the reader who asked, and is told of what they asked for in
    vain as if it were absent. ``hidden``: whether they may know that something was hidden from representatives.
    """

    language: Language = "fr"
    sees: Callable[[str], bool] = lambda _: True
    values: bool = True
    sealed: bool = True
    reason: bool = False
    own: bool = False
    hidden: bool = True


class Scene(Struct, frozen=True):
    """What the parts of one AuditEvent are made from."""

    row: Row
    part: Part
    kind: Kind
    base_url: str
    view: View
    said: Mapping[str, Any]

    @property
    def agent(self) -> Mapping[str, str]:
        """The system that asked."""
        found: Mapping[str, str] = self.row.get("agent", {})
        return found

    @property
    def account(self) -> Mapping[str, str]:
        """The account that was used or changed."""
        found: Mapping[str, str] = self.row.get("account", {})
        return found

    @property
    def person(self) -> Mapping[str, Any]:
        """Return who asked; of a sign-in, whose account was named."""
        account = self.account
        if account and "person" not in self.row and self.part.act in ("login", "logout"):
            named = {"name": account["name"]} if "name" in account else {}
            return {"id": account.get("identifier") or account.get("id") or "unknown", **named}
        found: Mapping[str, Any] = self.row.get("person", {})
        return found

    @property
    def has_user(self) -> bool:
        """Tell whether a human being asked."""
        return bool(self.person) or "operator" in self.agent

    @property
    def hides(self) -> bool:
        """Tell whether something is left out that the row or what lies beside it tells."""
        sealed = "sealed" in self.row and not self.said
        return sealed or len(self.shown) < len(self.names) or len(self.consents) < len(self.decided_by)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the versions that it was about, without those of which this reader may not know that there is anything to know.

        Where none is left, it reads as one that was about none of them.
        """
        told = tuple(self._told(self.part.names))
        return told if told or "on" not in self.row or not self.part.names else (self.row["on"],)

    @property
    def entries(self) -> int:
        """Return of how many entries of a bundle the reader may know."""
        return len(self._told([entry.get("on", "") for entry in self.row.get("entries", ())]))

    def _told(self, names: Sequence[str]) -> Sequence[str]:
        """Return the names of which the reader may know that there was something."""
        if self.view.hidden or "hides" not in self.row:
            return names
        hidden = hidden_names(self.row)
        return [name for name in names if name not in hidden or self.view.sees(unversioned(name))]

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the versions that this reader may know of."""
        return tuple(name for name in self.names if self.in_vain or self.view.sees(unversioned(name)))

    @property
    def decided_by(self) -> tuple[str, ...]:
        """Return the Consents that decided, without those of which this reader may not know that there is one."""
        named = tuple(self.row.get("consents", ()))
        return named if self.view.hidden else tuple(name for name in named if self.view.sees(unversioned(name)))

    @property
    def consents(self) -> tuple[str, ...]:
        """Return those of them that this reader may know of: what a minor has said in secret is told to no representative."""
        return tuple(name for name in self.decided_by if self.view.sees(unversioned(name)))

    @property
    def in_vain(self) -> bool:
        """Tell whether the reader asked for it and it touched nothing, or failed: they named what it was about, and were told no more."""
        return self.view.own and (self.part.outcome != "0" or "touched" not in self.row)


def unversioned(name: str) -> str:
    """Return what is named without its version."""
    return "/".join(name.split("/")[:2])


def versioned(name: str) -> str:
    """Return the reference to what is named, to its version if it has one."""
    parts = name.split("/")
    return f"{parts[0]}/{parts[1]}/_history/{parts[2]}" if len(parts) == 3 else name
