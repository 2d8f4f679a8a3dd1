"""The chains whose rows are sealed: how far each is, which may well bring more, and which are not kept in mind any longer.

Each epoch of each writer is one (``store.chain.Opening``). What is sealed of it stands in the ledger, for whoever leads next; what
is kept here grows with the writers of this month and the last, and not with all there ever were.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import structlog
from msgspec import Struct, field

from fhir_dmp.audit.entry import first_link, link
from fhir_dmp.clock import DAY, SECOND, datetime_of, micros_of
from fhir_dmp.service.handing import Key, fitting
from fhir_dmp.store.chain import Leaves, Link, Opening, Row
from fhir_dmp.store.ledger import Ledger
from fhir_dmp.store.period import period_of

PATIENCE = 3 * SECOND
"""How long the rows are left alone of an epoch whose writer hands in its leaves (microseconds)."""

QUIET = DAY

_log = structlog.get_logger(__name__)


class Chains(Struct):
    """What the leader knows of the chains; read anew by whoever takes over. ``links`` are the ends of what is sealed."""

    ledger: Ledger
    links: dict[Key, Link]
    closed: dict[Key, int] = field(default_factory=dict)
    stuck: dict[Key, int] = field(default_factory=dict)
    handing: dict[Key, int] = field(default_factory=dict)
    """When the writer of an epoch last handed in leaves that fitted."""

    ended: dict[Key, int] = field(default_factory=dict)
    """Epochs that bring no more and are no longer among ``links``, with the moment of their last rows: those of this month and the last."""

    @classmethod
    def of(cls, ledger: Ledger) -> Chains:
        """Return all that are sealed at all."""
        return cls(ledger, {(each.writer, each.epoch): each for each in ledger.links()})

    def fitting(self, handed: Sequence[Leaves], now: int) -> list[Leaves]:
        """Return the leaves that fit, and note whose do: their rows are left alone for a while.

        Of an epoch that is not known, since its registration came late, it is looked whether it is registered.
        """
        keys = {(each.writer, each.epoch) for each in handed}
        if unknown := keys - self.links.keys() - self.ended.keys():
            self.notice(self.ledger.openings_of(unknown))
        found: list[Leaves] = []
        for key, leaves in fitting(handed, self.links):
            if leaves is None:
                self.handing.pop(key, None)
            else:
                found.append(leaves)
                self.handing[key] = now
        return found

    def due(self, handed: Container[Key], now: int, *, sweep: bool) -> list[Link]:
        """Return the epochs whose rows are to be read: in a sweep all that may go on, and else those that may well bring something.

        Not those whose writers hand in their leaves: one that has not for some seconds may have ended without a word. Nor those that stand
        still: what lies behind a gap is not read again and again, and leaves others their room.
        """
        return [
            each
            for key, each in self.links.items()
            if self.closed.get(key) != each.number
            and key not in handed
            and (key in self.closed or now - self.handing.get(key, 0) >= PATIENCE)
            and (sweep or (key not in self.stuck and each.recorded > now - QUIET))
            and (key not in self.stuck or self._goes_on(each))
        ]

    def _goes_on(self, after: Link) -> bool:
        """Tell whether the row is there that an epoch has waited for."""
        row = self.ledger.next_row(after)
        return row is not None and _follows(row, after.number, after.hash)

    def following(self, key: Key, rows: Iterable[Row]) -> list[Row]:
        """Return the rows that follow on the epoch's last one, and on each other.

        One whose moment is not of the month that keeps it is none: where the epoch goes on is looked for from that month on.
        """
        last = self.links[key]
        number, digest = last.number, last.hash
        taken: list[Row] = []
        for row in rows:
            if not _follows(row, number, digest):
                if self.stuck.get(key) != row.number:
                    self.stuck[key] = row.number
                    _log.error("chain-broken", writer=key[0], epoch=key[1], after=number, found=row.number)
                return taken
            number, digest = row.number, row.hash
            taken.append(row)
        self.stuck.pop(key, None)
        return taken

    def notice(self, openings: Iterable[Opening]) -> None:
        """Take up the epochs that are not known yet where they are sealed to, and that others were closed."""
        found = {(each.writer, each.epoch): each for each in openings}
        unknown = [key for key in found if key not in self.links and key not in self.ended]
        sealed = {(each.writer, each.epoch): each for each in self.ledger.links(unknown)} if unknown else {}
        for key in unknown:
            self.links[key] = sealed.get(key) or Link(*key, 0, first_link(*key), found[key].at)
        self.closed.update(
            {key: each.closed.number for key, each in found.items() if each.closed and key in self.links}
        )

    def notice_idle(self, now: int) -> None:
        """Take up again the epochs of writers that were forgotten, since they were idle for a month and more, and write again."""
        known = {writer for writer, _ in (*self.links, *self.ended)}
        others = self.ledger.writers(lately(now)) - known
        if others:
            self.notice(each for each in self.ledger.openings() if each.writer in others)
            self.ended.update({(writer, ""): now for writer in others - {writer for writer, _ in self.links}})

    def forget(self, since: str) -> None:
        """Keep no link of an epoch that was closed and is wholly sealed, nor of one that wrote nothing from the period ``since`` on.

        One that never had a row was begun, and its writer ended, or could not tell what was stored, before the first: it counts from then.

        What is sealed of them stands in the ledger, where verifiers look, and whoever notices them again. One that has rows behind a gap, or
        was closed at a number that never came, is kept until somebody mends it.
        """
        for key, each in list(self.links.items()):
            idle = period_of(each.recorded) < since
            if self.closed.get(key) == each.number or (idle and key not in self.stuck and key not in self.closed):
                del self.links[key]
                self.closed.pop(key, None)
                self.handing.pop(key, None)
                self.ended[key] = each.recorded
        self.ended = {key: recorded for key, recorded in self.ended.items() if period_of(recorded) >= since}


def _follows(row: Row, number: int, digest: bytes) -> bool:
    """Tell whether the row follows on the one of this number and hash, and is of the month that keeps it."""
    follows = row.number == number + 1 and row.previous == digest and link(digest, row.body) == row.hash
    return follows and period_of(row.recorded) == row.period


def lately(now: int) -> tuple[str, str]:
    """Return the last month and this one: a row that is stored now is of one of them."""
    this = period_of(now)
    month = datetime_of(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return period_of(micros_of(month) - 1), this
