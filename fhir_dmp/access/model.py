"""The values of an access decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fhir_dmp.store.query import Query

Action = Literal["create", "read", "update", "delete", "search"]
"""What SMART v2 scopes name by the letters c, r, u, d, s. https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks, as its verified token says.

    ``client`` is the OAuth client id, ``role`` the kind of system it was registered as (``ehr``, ``lab``,
    ``insurance-feed``, ``auditor``, ``samu``, ``app``, ``admin``), ``organization`` the structure it acts for (``system|value``), ``scopes``
    what was granted, ``token_id`` the ``jti``. ``operator`` names the person behind a command of the command line.
    """

    client: str
    role: str
    scopes: tuple[str, ...]
    organization: str | None = None
    token_id: str | None = None
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A permission or a refusal, for the rows that ``where`` describes, and why."""

    permit: bool
    where: Query
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one row, with the reasons that made it."""

    permit: bool
    reasons: tuple[str, ...]
