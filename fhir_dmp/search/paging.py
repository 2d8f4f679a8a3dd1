"""Where the next page goes on: an opaque token that only its owner can use, for a while. https://hl7.org/fhir/R4/http.html#paging."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.url import Params


class Place(msgspec.Struct, frozen=True):
    """What a token holds: whose it is, what was asked and where, the last keys, the bound and the horizon of the first page, and its end.

    ``keys`` are those of the page's last row; a Decimal among them is kept as ``["d", digits]``.
    """

    owner: str
    path: str
    params: Params
    keys: tuple[Any, ...]
    bound: str
    horizon: int
    ends: int


class Owner(Protocol):
    """Who a page belongs to: what of a subject a token is bound to."""

    @property
    def client(self) -> str:
        """The OAuth client id."""
        ...

    @property
    def organization(self) -> str | None:
        """The structure it acts for."""
        ...

    @property
    def scopes(self) -> tuple[str, ...]:
        """What was granted."""
        ...

    @property
    def patient(self) -> str | None:
        """The record that a system's token is bound to."""
        ...

    @property
    def person(self) -> PersonOwner | None:
        """The human being, if one asks."""
        ...


class PersonOwner(Protocol):
    """Of a person, what a page is bound to."""

    @property
    def account(self) -> str:
        """The account."""
        ...

    @property
    def patient(self) -> str | None:
        """The record that the token reaches."""
        ...

    @property
    def purpose(self) -> str:
        """Why they ask."""
        ...


FORM = ("_format", "_pretty")
"""Parameters that say how a page looks, and nothing of what is on it."""


_RECENT = 64
"""Queries that are remembered as they are written: few, for one may be as long as a request."""


@lru_cache(maxsize=_RECENT)
def written(params: Params) -> str:
    """Return the parameters as the query of a URL; a page tells them in its own link, and tells the log."""
    return urlencode(params)


def next_url(base: str, token: str, params: Params) -> str:
    """Return the link to the page of a token, in the form that this page was asked for by its parameters."""
    return "&".join([f"{base}?_page={token}", *(urlencode([each]) for each in params if each[0] in FORM)])


def owner(subject: Owner | None) -> str:
    """Return whose a page is: client, structure, scopes, record, and the person with purpose, as one digest."""
    if subject is None:
        return ""
    person = subject.person
    human = (person.account, person.patient, person.purpose) if person else (subject.patient,)
    text = repr((subject.client, subject.organization, sorted(subject.scopes), human))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def seal_place(place: Place, seal: Callable[[bytes], str]) -> str:
    """Return the token of a place."""
    keys = tuple(["d", str(key)] if isinstance(key, Decimal) else key for key in place.keys)
    return seal(msgspec.json.encode(msgspec.structs.replace(place, keys=keys)))


def open_place(token: str, unseal: Callable[[str], bytes], *, owner: str, path: str, now: int) -> Place:
    """Return the place; raise ``Invalid`` for a token that is another's, another search's, too old or not ours."""
    try:
        place = msgspec.json.decode(unseal(token), type=Place)
    except msgspec.DecodeError:
        raise Invalid("This page token is not one of ours: repeat the search.", expression="_page") from None
    if place.owner != owner or place.path != path:
        raise Invalid("This page token belongs to another caller or another search.", expression="_page")
    if place.ends < now:
        raise Invalid("This page token is too old: repeat the search.", expression="_page")
    return msgspec.structs.replace(place, keys=tuple(map(_key, place.keys)))


def asked_before(token: str, unseal: Callable[[str], bytes]) -> Params:
    """Return what was asked on the first page; nothing for a token that is none, which ``open_place`` refuses."""
    try:
        return msgspec.json.decode(unseal(token), type=Place).params
    except (Invalid, msgspec.DecodeError):
        return ()


def _key(key: Any) -> Any:
    return Decimal(key[1]) if isinstance(key, Sequence) and not isinstance(key, str) else key
