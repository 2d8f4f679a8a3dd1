"""National numbers of professionals: RPPS, and the national identifier that is 8 and that number."""

from __future__ import annotations

import re

RPPS = "https://rpps.esante.gouv.fr|"
NATIONAL = "urn:oid:1.2.250.1.71.4.2.1|"
_OF_RPPS = "8"
_PLAIN = re.compile("^https?://")


def is_misspelt(system: str) -> bool:
    """Tell whether a system is one of national numbers but for its case, its scheme or a slash: nobody is known by such."""
    meant = _PLAIN.sub("", system.lower()).rstrip("/")
    return any(meant == _PLAIN.sub("", known[:-1]) and system != known[:-1] for known in (RPPS, NATIONAL))


def is_national(number: str) -> bool:
    """Tell whether ``system|value`` is a number that names one professional in the whole country."""
    return number.startswith((RPPS, NATIONAL))


def rpps(number: str) -> str | None:
    """Return the RPPS number that a national number (``system|value``) is, or holds after an 8; None for one of another register."""
    value = number.partition("|")[2]
    if number.startswith(RPPS):
        return value
    return value[1:] if number.startswith(f"{NATIONAL}{_OF_RPPS}") else None


def equal_numbers(identifier: str) -> tuple[str, ...]:
    """Return the names of the same professional: an RPPS number, and the national identifier that is 8 and that number."""
    if identifier.startswith(RPPS):
        return (identifier, f"{NATIONAL}{_OF_RPPS}{identifier.removeprefix(RPPS)}")
    if identifier.startswith(f"{NATIONAL}{_OF_RPPS}"):
        return (identifier, f"{RPPS}{identifier.removeprefix(NATIONAL + _OF_RPPS)}")
    return (identifier,)
