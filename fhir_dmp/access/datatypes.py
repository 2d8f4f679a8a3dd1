"""Periods, codes and identifiers of a Consent, as they are compared; what could mean something else is refused. https://hl7.org/fhir/R4/datatypes.html."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from fhir_dmp.access.numbers import is_misspelt
from fhir_dmp.access.policy import Period
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir.dates import days
from fhir_dmp.store.query import LONGEST


def period_of(tree: Mapping[str, Any], zone: tzinfo, path: str) -> Period:
    """Return a FHIR Period by the days of the ``zone``; what its end names is within it. https://hl7.org/fhir/R4/datatypes.html#Period."""
    try:
        start = days(tree["start"], zone)[0] if "start" in tree else None
        end = days(tree["end"], zone)[1] if "end" in tree else None
    except ValueError as fault:
        raise refused(str(fault), path) from None
    period = Period(start, end)
    if period.is_empty:
        raise refused("a period ends after it starts", path)
    return period


def coded(item: Mapping[str, Any], path: str) -> str:
    """Return a Coding as ``system|code``; refuse one without a system, or longer than what is indexed."""
    if not item.get("system") or not item.get("code"):
        raise refused("a code needs its system", path)
    code = f"{item['system']}|{item['code']}"
    if len(code) > LONGEST:
        raise refused(f"a code with its system is longer than {LONGEST} characters", path)
    return code


def is_whole(identifier: Mapping[str, Any]) -> bool:
    """Tell whether an Identifier has both its system and its value: by less nobody is known."""
    return bool(identifier.get("system") and identifier.get("value"))


def require_plain(identifier: Mapping[str, Any], path: str) -> None:
    """Refuse an identifier that looks like another one and is compared as if it were somebody else's."""
    value = identifier.get("value", "")
    if value != unicodedata.normalize("NFKC", value).strip() or not value.isprintable():
        raise refused("an identifier has no blanks around it and no characters but the usual ones", f"{path}.value")
    if is_misspelt(identifier.get("system", "")):
        raise refused("this is not how the system of national numbers is written", f"{path}.system")


def refused(why: str, path: str) -> Unprocessable:
    """Return the refusal of a Consent, with what in it is the reason."""
    return Unprocessable(f"This Consent cannot be enforced as it stands: {why}.", expression=path)
