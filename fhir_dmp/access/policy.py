"""What opens one record, compiled from its sources: Consents, the care team, the attending doctor, representatives, its closing.

A policy is a value. It is compiled inside the commit that changes a source, kept as JSON, and judged when somebody asks: periods are
compared with the moment of the question, never by a job. Times are microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

Actors = tuple[tuple[str, ...], ...]
"""Alternatives; of each, all names must be the subject's. A name is ``system|value``, ``Practitioner/x`` or ``RelatedPerson/r``."""


class Period(Struct, frozen=True):
    """From ``start`` up to, and not including, ``end``; None is open."""

    start: int | None = None
    end: int | None = None

    def holds(self, now: int) -> bool:
        """Tell whether the moment lies within."""
        return (self.start is None or self.start <= now) and (self.end is None or now < self.end)

    @property
    def is_empty(self) -> bool:
        """Tell whether no moment lies within."""
        return self.start is not None and self.end is not None and self.end <= self.start

    def within(self, other: Period) -> Period:
        """Return the time that both have."""
        starts = [each.start for each in (self, other) if each.start is not None]
        ends = [each.end for each in (self, other) if each.end is not None]
        return Period(max(starts, default=None), min(ends, default=None))


class Data(Struct, frozen=True):
    """Which rows of the record a provision is about; nothing stated: all of them.

    ``instances`` are ``Type/id``; ``tokens`` are tokens of the index part that tell what belongs to an encounter or names an author;
    ``authors`` are stamped authors (``au``); ``labels`` are ``system|code``, one of which is enough; ``period`` bounds when
    the thing was.
    """

    instances: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    period: Period | None = None

    @property
    def named(self) -> bool:
        """Tell whether single rows, an encounter or an author are named."""
        return bool(self.instances or self.tokens or self.authors)


class Provision(Struct, frozen=True):
    """One provision of a Consent. https://hl7.org/fhir/R4/consent-definitions.html#Consent.provision.

    No ``actors`` means everybody, no ``purposes`` (``system|code``) any. ``exceptions`` are the provisions within it; what these
    do not state they have from it.
    """

    permit: bool
    actors: Actors = ()
    purposes: tuple[str, ...] = ()
    period: Period = Period()
    data: Data = Data()
    exceptions: tuple[Provision, ...] = ()


class Member(Struct, frozen=True):
    """Someone whom a source names, and for how long."""

    actors: Actors
    period: Period = Period()


class Entry(Struct, frozen=True, omit_defaults=True):
    """What one source says: ``source`` is ``Type/id``, ``version`` the one it was compiled from.

    ``provision`` is that of a Consent, ``members`` those of a care team, ``doctors`` the attending doctors, ``representatives`` who
    acts for the holder. ``closed`` is when the record was closed (microseconds), None while it is open. ``rests_on`` are resources that
    were read to know whom the source means (a Group, an Organization): when they change, it is compiled anew. ``about`` are the
    actors of the provision, or the doctors, as the source writes them: ``provision`` and ``doctors`` have all their names. ``declared``:
    a professional said of the holder that this is their word. ``died`` is when the holder died (microseconds; 0: some day). ``untold``: the
    Consent spoke of single rows of the record in other words than now, or does and is not in force. That stays when it has ended or is
    deleted: what is past of it would tell what it hid.
    """

    source: str
    version: int
    provision: Provision | None = None
    members: tuple[Member, ...] = ()
    doctors: tuple[Member, ...] = ()
    representatives: tuple[Member, ...] = ()
    closed: int | None = None
    rests_on: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    declared: bool = False
    died: int | None = None
    untold: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """Whom the Consent names: ``Type/id`` or ``system|value``; nobody where it is about everybody."""
        actors = self.provision.actors if self.provision else ()
        return self.about or tuple(" + ".join(actor) for actor in actors)

    @property
    def name(self) -> str:
        """What reasons call it: ``Consent/42 v3``."""
        return f"{self.source} v{self.version}"


class Policy(Struct, frozen=True):
    """All that opens, restricts or shuts one record (``Patient/p``).

    ``shares`` are other records that hold rows of this one too: such a row is judged by the policies of both.
    """

    patient: str
    entries: tuple[Entry, ...] = ()
    shares: tuple[str, ...] = ()

    @property
    def closing(self) -> Entry | None:
        """The source that closed the record, if one did."""
        return next((entry for entry in self.entries if entry.closed is not None), None)

    def dead(self, now: int) -> Entry | None:
        """Return the source that says that the holder has died, if one does."""
        return next((entry for entry in self.entries if entry.died is not None and entry.died <= now), None)

    def entry(self, source: str) -> Entry | None:
        """Return what the source says now."""
        return next((entry for entry in self.entries if entry.source == source), None)

    def put(self, source: str, entry: Entry | None) -> Policy:
        """Return the policy with this in place of what the source said; None forgets the source."""
        others = tuple(each for each in self.entries if each.source != source)
        return replace(self, entries=others if entry is None else (*others, entry))


EVERYBODY = "*"
"""Stands among the names of a policy that concerns whoever asks: a closing, or a provision without actors."""


def names(policy: Policy) -> tuple[str, ...]:
    """Return whom and what the policy names, so that it is found by them: structures, professionals, ``EVERYBODY``."""
    return tuple(dict.fromkeys(name for entry in policy.entries for name in _names(entry)))


def _names(entry: Entry) -> Iterator[str]:
    if entry.closed is not None:
        yield EVERYBODY
    yield from entry.rests_on
    provisions = (entry.provision, *entry.provision.exceptions) if entry.provision else ()
    for provision in provisions:
        if not provision.actors:
            yield EVERYBODY
        yield from (name for actor in provision.actors for name in actor)
    for member in (*entry.members, *entry.doctors, *entry.representatives):
        yield from (name for actor in member.actors for name in actor)


def encode(policy: Policy) -> bytes:
    """Return the policy as JSON."""
    return msgspec.json.encode(policy)


@lru_cache(maxsize=4096)
def decode(body: bytes) -> Policy:
    """Return the policy that ``encode`` made these bytes of."""
    return msgspec.json.decode(body, type=Policy)
