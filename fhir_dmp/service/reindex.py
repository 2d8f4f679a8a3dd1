"""The door of reindexing: an operator has all rows indexed by search parameters that were added, while others read and write.

A SearchParameter that was posted, or that stands under ``profiles/``, is not asked for before. Each row is indexed anew from its body by what
writers index by, and changed only if it differs and only while it is still of that version; so a run that was cut goes on, and one that is
repeated changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.call import Act, Call, Context, Env, Result
from fhir_dmp.clock import SECOND
from fhir_dmp.definitions.compiler import UnsupportedError
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.interactions.about import patients_named
from fhir_dmp.interactions.write import PATIENTS_OWN
from fhir_dmp.search.added import POLL_SECONDS, Added, ByType, fingerprint
from fhir_dmp.search.form import FORM
from fhir_dmp.service.evidence import described
from fhir_dmp.service.provenances import TYPE as PROVENANCE
from fhir_dmp.store.change import Index, Stored
from fhir_dmp.store.indexes import AddedParam, Indexes
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import Eq

BATCH = 200
MOST_NAMES = 1000
"""Added parameters, counted by the types that they are for."""

_PAGE = 200
_PAUSE_SECONDS = 0.5

Progress = Callable[[int, int], None]
"""Is told how many rows are done, and of how many."""


class Report(Struct):
    """What a run did: the parameters that are complete now, those that cannot be, with the reason, and the rows that it changed."""

    complete: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    rows: int = 0
    changed: int = 0


class Reindexer(Struct, frozen=True):
    """Indexes all rows anew; ``wait`` sleeps for so many seconds."""

    env: Env
    indexes: Indexes
    added: Added
    wait: Callable[[float], None]

    @property
    def is_behind(self) -> bool:
        """Tell whether there may be rows that were indexed in an older form, and are found by what that knew."""
        return self.indexes.form() < FORM

    def reindex(self, context: Context, progress: Progress, *, everything: bool = False) -> Report:
        """Index by the added parameters that are not complete, or all rows by all parameters; leave one event."""
        report = Report()
        try:
            self._reindex(report, progress, everything=everything)
        except FhirError as error:
            self._announce(context, Act(Call("reindex"), error=error))
            raise
        changed = (f"{report.changed} of {report.rows} rows changed",)
        self._announce(context, Act(Call("reindex"), Result("ok"), reasons=(*report.complete, *changed)))
        return report

    def _announce(self, context: Context, act: Act) -> None:
        self.env.store.record(described(act, context, self.env))

    def _reindex(self, report: Report, progress: Progress, *, everything: bool) -> None:
        states = self._adopt(report)
        waiting = {url: state for url, state in states.items() if not state.complete}
        if not waiting and not everything:
            return
        self._until_all_know(max((state.since for state in waiting.values()), default=0))
        types = sorted(self._types(waiting, everything=everything))
        run = _name(types, waiting, everything=everything)
        total = self.indexes.count(types)
        last, report.rows = self.indexes.place(run)
        progress(report.rows, total)
        for rows in self._batches(types, last):
            report.changed += self.indexes.rewrite([pair for row in rows if (pair := self._anew(row)) is not None])
            report.rows += len(rows)
            self.indexes.advance(run, str(rows[-1].ref), report.rows)
            progress(report.rows, max(total, report.rows))
        self.indexes.save([replace(state, complete=True) for state in waiting.values()])
        self.indexes.advance("", "", 0)
        if everything:
            self.indexes.keep_form(FORM)
        self.added.refresh()
        report.complete = sorted(waiting)

    def _adopt(self, report: Report) -> dict[str, AddedParam]:
        """Take up what was posted or stands in the tables, as far as it is new or has changed; drop what is no longer there."""
        known = {state.url: state for state in self.indexes.added()}
        now = self.env.clock.micros()
        states: dict[str, AddedParam] = {}
        for url, mark, body in self._wanted(report):
            state = known.get(url)
            same = state is not None and state.fingerprint == mark
            states[url] = state if state and same else AddedParam(url, mark, now, complete=False, definition=body)
        self.indexes.save([state for url, state in states.items() if known.get(url) != state])
        report.dropped = sorted(known.keys() - states.keys())
        self.indexes.forget(report.dropped)
        self.added.refresh()
        return states

    def _wanted(self, report: Report) -> Iterator[tuple[str, str, bytes | None]]:
        """Yield URL, fingerprint and body (None if it stands in the tables) of each parameter that can be indexed."""
        taken: set[tuple[str, str]] = set()
        official = {param.url for params in self.added.served.values() for param in params.values() if not param.added}
        found: list[tuple[str, ByType, bytes | None]] = [
            (url, params, None) for url, params in self.added.tabled.items()
        ]
        for definition, posted in self._posted():
            url = str(definition.get("url"))
            if url in official or url in self.added.tabled:
                continue
            try:
                found.append((url, self.added.compile(definition), posted))
            except UnsupportedError as reason:
                report.refused[url] = str(reason)
        for url, params, body in found:
            names = {(resource_type, param.code) for resource_type, param in params.items()}
            if names & taken or len(taken) > MOST_NAMES:
                report.refused[url] = "another has its code" if names & taken else "there are too many already"
            else:
                taken |= names
                yield url, fingerprint(params), body

    def _posted(self) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """Yield the active SearchParameters that are stored here."""
        after: tuple[Any, ...] | None = None
        more = True
        while more:
            found = self.env.store.search(Eq("t", "SearchParameter.status=active"), Page(_PAGE, after=after))
            for row in found.rows:
                if row.body is not None:
                    yield codec.loads_object(row.body), row.body
            after, more = found.last, found.more

    def _until_all_know(self, since: int) -> None:
        """Wait until nothing that was indexed without the new parameters can still be committed."""
        while self.env.store.horizon() <= since + int(POLL_SECONDS * SECOND):
            self.wait(_PAUSE_SECONDS)

    def _types(self, waiting: Mapping[str, AddedParam], *, everything: bool) -> set[str]:
        if everything:
            return set(self.env.definitions.resource_types)
        return {
            resource_type
            for resource_type, params in self.added.indexed.items()
            if any(param.added and param.url in waiting for param in params.values())
        }

    def _batches(self, types: list[str], last: str) -> Iterator[list[Stored]]:
        for resource_type in types:
            after = last if last.startswith(f"{resource_type}/") else ""
            if not after and last.partition("/")[0] > resource_type:
                continue
            while rows := list(self.indexes.rows(resource_type, after, BATCH)):
                yield rows
                after = str(rows[-1].ref)

    def _anew(self, row: Stored) -> tuple[Stored, Index] | None:
        """Return the row with its new index fields, or None if they are as they were."""
        if row.body is None:
            return None
        tree = codec.loads_object(row.body)
        about = patients_named(row.ref.type, tree)
        index = {**self.env.extract(row.ref.type, tree), **({"about": about} if about else {}), **_stamped(row)}
        same = all(row.index.get(name) == value for name, value in index.items())
        gone = any(name in row.index and name not in index for name in ("r", "w", "ds"))
        return None if same and not gone else (row, index)


def _stamped(row: Stored) -> Index:
    """Return what the row's writer knew beside its body: that a patient wrote it; of a Provenance what it has of its targets."""
    names = (
        ("pt", "ca", "sec") if row.ref.type == PROVENANCE else ("ca",) if row.index.get("ca") == PATIENTS_OWN else ()
    )
    return {name: row.index[name] for name in names if name in row.index}


def _name(types: list[str], waiting: Mapping[str, AddedParam], *, everything: bool) -> str:
    """Return the name of a run: another one begins from the first row."""
    parts = [*types, *(f"{url} {state.fingerprint}" for url, state in sorted(waiting.items())), str(everything)]
    return sha256("\n".join(parts).encode()).hexdigest()[:32]
