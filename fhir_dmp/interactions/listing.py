"""Lists that are answered page by page: where a page goes on, and how its Bundle is put together. https://hl7.org/fhir/R4/http.html#paging.

``meta.lastUpdated`` of a list is a horizon that no unfinished commit can precede, and the same on all its pages: who polls with it
(``_since`` of a history, ``_lastUpdated=ge…`` of a search) may see a version twice, and never misses one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from fhir_dmp.call import Call, Context, Entity, Env, Params, Result
from fhir_dmp.clock import SECOND, instant
from fhir_dmp.errors import Invalid, Issue
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import Entry, bundle, shown
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.interactions.subset import Subset
from fhir_dmp.search.paging import FORM, Place, next_url, open_place, owner, seal_place, written
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found


class Listing(Struct, frozen=True):
    """A list: the first page of what ``call`` asks for, or a further one, which ``place`` tells.

    ``bound`` leaves out what was created after the first page began; ``horizon`` (microseconds since 1970) precedes whatever could
    still appear then.
    """

    call: Call
    context: Context
    env: Env
    place: Place | None
    bound: str
    horizon: int

    @classmethod
    def of(cls, call: Call, context: Context, env: Env) -> Listing:
        """Return the list that a call asks for; raise ``Invalid`` for a page that is not its caller's or not of this list."""
        place = _resumed(call, context, env)
        if place is not None:
            return cls(call, context, env, place, place.bound, place.horizon)
        return cls(call, context, env, None, env.store.newest(), env.store.horizon())

    @property
    def params(self) -> Params:
        """What is asked: on a further page, what of the first one's parameters was understood."""
        return self.place.params if self.place else self.call.params

    @property
    def after(self) -> tuple[Any, ...] | None:
        """The keys of the row that the page begins after; None on the first page."""
        return self.place.keys if self.place else None

    @property
    def updated(self) -> str:
        """What ``meta.lastUpdated`` of the list says."""
        return instant(self.horizon)

    def total(self, found: Found) -> int | None:
        """Return how many rows there are in all where that costs nothing: all of them are on the first page."""
        return None if self.place or found.more else len(found.rows)

    def links(self, used: Params, last: tuple[Any, ...] | None, going_on: Params = ()) -> dict[str, str]:
        """Return the links of the page: itself, as the server understood it, and the next one after the keys ``last``, if any follows.

        ``going_on`` is told to the next page beside what was asked.
        """
        base = f"{self.context.base_url}/{self.call.path}".removesuffix("/")
        links = {"self": f"{base}?{written(used)}" if used else base}
        if last is not None:
            links["next"] = next_url(base, self._token((*used, *going_on), last), self.call.params)
        return links

    def bundle(self, entries: Iterable[Entry | bytes], links: Mapping[str, str], total: int | None) -> bytes:
        """Return the page's Bundle, which has an id of its own: the same page asked for again is another one."""
        new = self.env.ids.new()
        return bundle("searchset", entries, links=links, total=total, updated=self.updated, bundle_id=new)

    def searchset(
        self,
        used: Params,
        found: Found,
        part: Subset,
        *,
        included: Sequence[Stored] = (),
        total: int | None = None,
        ignored: Sequence[Issue] = (),
        ref: Ref | None = None,
        going_on: Params = (),
        concerned: tuple[Entity, ...] = (),
    ) -> Result:
        """Return the page of what was found and included, each as the ``part`` of it that was asked for.

        ``used`` is what was understood, ``ignored`` what is told of the rest; ``ref`` is the one resource that the list is about,
        ``going_on`` what the next page is told beside what was asked, ``concerned`` what was counted and is not shown.
        """
        base_url = self.context.base_url
        entries: list[Entry | bytes] = [
            *shown(((row.ref, part(row.body)) for row in found.rows), "match", base_url),
            *shown(((row.ref, part(row.body)) for row in included), "include", base_url),
        ]
        if ignored:
            entries.append(Entry(body=codec.dumps(outcome(ignored)), search_mode="outcome"))
        links = self.links(used, (found.last or ()) if found.more else None, going_on)
        return Result(
            "ok",
            self.bundle(entries, links, total),
            ref=ref,
            entities=tuple(disclosed(row) for row in (*found.rows, *included)),
            query=written(used),
            concerned=concerned,
        )

    def _token(self, used: Params, last: tuple[Any, ...]) -> str:
        env = self.env
        ends = env.clock.micros() // SECOND + env.limits.page_token_seconds
        whose = owner(self.context.subject)
        return seal_place(Place(whose, self.call.path, used, last, self.bound, self.horizon, ends), env.seal)


def _resumed(call: Call, context: Context, env: Env) -> Place | None:
    """Return where a page goes on; what was asked stands in its token, so that no other parameter can be meant beside it."""
    tokens = [value for name, value in call.params if name == "_page"]
    if not tokens:
        return None
    names = (*(name for name, _ in call.params), *(item.name for item in call.parameters.items))
    beside = next((name for name in names if name not in ("_page", *FORM)), None)
    if beside is not None or len(tokens) > 1:
        told = (beside or "_page")[:64]
        raise Invalid(f"A page goes on with what its first one asked: {told} cannot be added to it.", expression=told)
    now = env.clock.micros() // SECOND
    return open_place(tokens[0], env.unseal, owner=owner(context.subject), path=call.path, now=now)
