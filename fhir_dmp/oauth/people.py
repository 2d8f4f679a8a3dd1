"""What an account must be to be kept: who somebody is, never what they may see.

Professions are those of health (TRE_G15). No account names an insurer, a mutual fund or an employer: there is no kind, no
profession and no resource for one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import date

from fhir_dmp.errors import Invalid
from fhir_dmp.store.accounts import Account, Represented, Situation

RESOURCES = {"patient": ("Patient", "RelatedPerson"), "professional": ("Practitioner",)}
"""The types of ``fhirUser`` by kind of account."""

PROFESSIONS = frozenset(
    "10 21 26 28 31 32 35 36 37 38 39 40 50 60 69 70 80 81 82 83 84 85 86 91 92 93 94 95 96 98".split()
)
"""TRE_G15: https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante."""

MOST_SITUATIONS = 20
MOST_REPRESENTED = 50
LOGIN_LENGTH = 100
NAME_LENGTH = 200
_LOGIN = re.compile(r"[^\s|/\\<>\"'&]{3,100}\Z")
_IDENTIFIER = re.compile(r"[^\s|]{1,200}\|[^\s|]{1,100}\Z")
_RESOURCE = re.compile(r"([A-Z][A-Za-z]+)/[A-Za-z0-9.\-]{1,64}\Z")
_RELATED = re.compile(r"RelatedPerson/[A-Za-z0-9.\-]{1,64}\Z")
_RECORD = re.compile(r"Patient/[A-Za-z0-9.\-]{1,64}\Z")
_SPECIALTY = re.compile(r"[A-Z0-9]{1,10}\Z")
_NAME = re.compile(r"[^\x00-\x1f<>]{1,200}\Z")


def compared_login(typed: str) -> str:
    """Return the login as it is compared: without case, one form for each letter, no blanks around it."""
    return unicodedata.normalize("NFKC", typed[: 4 * LOGIN_LENGTH]).strip().casefold()[:LOGIN_LENGTH]


def require_account(account: Account) -> None:
    """Raise ``Invalid`` naming the first thing that keeps the account from being added."""
    _match(_NAME, account.name, f"A name has 1 to {NAME_LENGTH} characters.")
    _match(_IDENTIFIER, account.identifier, "An identifier is written SYSTEM|VALUE.")
    if account.login is not None:
        _match(_LOGIN, account.login, "A login has 3 to 100 characters, without blanks, quotes and slashes.")
    if account.login is None and account.subject is None:
        raise Invalid("An account needs a login, or a subject at a provider, or both.")
    if (account.login is None) != (account.password is None):
        raise Invalid("A login and a password come together.")
    _require_resource(account)
    _require_situations(account)
    require_represents(account.kind, account.represents)
    if account.birth_date is not None:
        _require_date(account.birth_date)


def require_organization(organization: str) -> None:
    """Raise ``Invalid`` unless a structure is named so, of a person or of a client."""
    _match(_IDENTIFIER, organization, "An organization is written SYSTEM|VALUE.")


def require_situation(situation: Situation) -> None:
    """Raise ``Invalid`` unless the situation is one of a health professional."""
    if situation.profession not in PROFESSIONS:
        raise Invalid(f"{situation.profession[:20]!r} is no health profession of TRE_G15.")
    if situation.specialty is not None:
        _match(_SPECIALTY, situation.specialty, "A specialty is a code of TRE_R01, such as SM26.")
    if situation.organization is not None:
        require_organization(situation.organization)
    if situation.label:
        _match(_NAME, situation.label, f"The name of a structure has at most {NAME_LENGTH} characters.")


def require_represents(kind: str, represents: Sequence[Represented]) -> None:
    """Raise ``Invalid`` unless these can be records of others in which a patient stands."""
    if represents and kind != "patient":
        raise Invalid("A professional's account represents nobody.")
    if len(represents) > MOST_REPRESENTED or len({each.patient for each in represents}) != len(represents):
        raise Invalid(f"An account represents each person once, and at most {MOST_REPRESENTED}.")
    for each in represents:
        _match(_RELATED, each.resource, "A representative is a RelatedPerson, such as RelatedPerson/r1.")
        _match(_RECORD, each.patient, "A record is a Patient's, such as Patient/p1.")
        _match(_NAME, each.label, f"A name has 1 to {NAME_LENGTH} characters.")


def is_minor(birth_date: str | None, today: date, majority: int) -> bool:
    """Tell whether who was born then is younger than ``majority`` years today; nobody is of whom no birth date is known."""
    if birth_date is None:
        return False
    born = date.fromisoformat(birth_date)
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return age < majority


def _match(pattern: re.Pattern[str], text: str, otherwise: str) -> None:
    if not pattern.match(text):
        raise Invalid(otherwise)


def _require_resource(account: Account) -> None:
    types = RESOURCES.get(account.kind)
    if types is None:
        raise Invalid(f"There is no kind {account.kind[:20]!r}: an account is a patient's or a professional's.")
    found = _RESOURCE.match(account.resource)
    if found is None or found[1] not in types:
        raise Invalid(f"The resource of a {account.kind}'s account is a {' or '.join(types)}, such as {types[0]}/p1.")


def _require_situations(account: Account) -> None:
    if account.kind == "patient":
        if account.situations:
            raise Invalid("A patient's account has no situation of exercise.")
        return
    if not 1 <= len(account.situations) <= MOST_SITUATIONS:
        raise Invalid(f"A professional's account has 1 to {MOST_SITUATIONS} situations of exercise.")
    for each in account.situations:
        require_situation(each)


def _require_date(text: str) -> None:
    try:
        if date.fromisoformat(text).isoformat() == text:
            return
    except ValueError:
        pass
    raise Invalid(f"{text[:20]!r} is no date such as 2012-05-31.")


def traits_digest(family: str, given: str, birth_date: str, sex: str, birth_place: str) -> str:
    """Return the SHA-256 of the five traits of an identity (*traits d'identité*), however they are written.

    ``family`` is the name at birth, ``given`` all given names, ``sex`` begins with M or F (``male``, ``female``), ``birth_place`` is the
    official code of the town or country.
    """
    parts = (_letters(family), _letters(given), birth_date.strip(), _letters(sex)[:1], _letters(birth_place))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _letters(text: str) -> str:
    """Return capital letters and digits without accents, words parted by one blank."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return " ".join(re.sub(r"[^A-Z0-9]", " ", plain.upper().replace("Œ", "OE").replace("Æ", "AE")).split())
