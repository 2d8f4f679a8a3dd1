"""Identifiers that are well formed and belong to nobody: INS on the test OID, RPPS, FINESS."""

from __future__ import annotations

from random import Random

INS_TEST = "urn:oid:1.2.250.1.213.1.4.10"
"""INS-NIR-TEST: a fake number can never be taken for a real one."""

RPPS = "https://rpps.esante.gouv.fr"
FINESS = "https://finess.esante.gouv.fr"
_CORSICA = {"2A": "19", "2B": "18"}
_CORSICA_PARTED = 1976


def ins(random: Random, *, female: bool, year: int, month: int, cog: str) -> str:
    """Return 13 characters and the key: 97 less the number modulo 97, Corsica's letters replaced before.

    Who was born in Corsica before 1976 has the department's old number, 20.
    """
    if cog[:2] in _CORSICA and year < _CORSICA_PARTED:
        cog = f"20{cog[2:]}"
    number = f"{2 if female else 1}{year % 100:02d}{month:02d}{cog}{random.randint(1, 999):03d}"
    digits = number[:5] + _CORSICA.get(number[5:7], number[5:7]) + number[7:]
    return f"{number}{97 - int(digits) % 97:02d}"


def rpps(random: Random) -> str:
    """Return 11 digits whose last makes them pass Luhn's test; those that begin with 997 are on test cards alone."""
    body = f"997{random.randint(0, 9_999_999):07d}"
    total = sum(_luhn(int(digit), place) for place, digit in enumerate(reversed(body)))
    return f"{body}{-total % 10}"


def phone(random: Random) -> str:
    """Return a mobile number of the range that is kept for fiction (ARCEP, decision 2018-0881)."""
    return f"063998{random.randint(0, 9999):04d}"


def _luhn(digit: int, place: int) -> int:
    return digit if place % 2 else sum(divmod(digit * 2, 10))
