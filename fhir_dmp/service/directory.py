"""Who is who, for whatever opens or shuts a record: what compiling reads of other resources, and which of them are believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from fhir_dmp.access.actors import Registry
from fhir_dmp.access.kinds import NAMING
from fhir_dmp.access.numbers import is_national
from fhir_dmp.call import Env
from fhir_dmp.definitions.model import Definitions
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.search.names import homes
from fhir_dmp.store.change import Change, Stored
from fhir_dmp.store.query import Row

AUTHORS = (
    "author",
    "performer",
    "asserter",
    "recorder",
    "requester",
    "source",
    "sender",
    "informationsource",
    "enterer",
)
"""Search parameters that name who made a resource's statement; a Consent may restrict by them (``authoredby``)."""

MOST_NUMBERS = 5
"""National numbers of an entry that are looked up among the accounts."""


class Directory(Struct):
    """The resources that compiling reads: those of the plan itself first, then the store's.

    ``read`` are the versions of what was read of the store (0: absent), for the commit to hold to; ``names`` (``Type/id``) is what was
    looked at since the last ``registry``; ``believed`` which of them say who is who, where others than their keeper wrote so too.
    """

    plan: Mapping[Ref, Change]
    env: Env
    base_url: str
    read: dict[Ref, int] = field(default_factory=dict)
    found: dict[Ref, Stored | None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    believed: dict[Ref, bool] = field(default_factory=dict)

    def registry(self, *, again: bool = False) -> Registry:
        """Return what compiling needs; what it looks at is named from now on."""
        self.names.clear()
        env = self.env
        several = env.readings.several_doctors
        return Registry(
            self.find, authored(env.definitions), self.base_url, env.majority, env.zone, again, several, self.others
        )

    def find(self, ref: Ref) -> Mapping[str, Any] | None:
        """Return the resource; who is who is told by the keeper of the directory, a structure of itself, and who registers accounts."""
        return self._told(ref, kept=True)

    def others(self, ref: Ref) -> Mapping[str, Any] | None:
        """Return who is who where others wrote it."""
        return self._told(ref, kept=False) if ref.type in NAMING else None

    def is_of_others(self, name: str) -> bool:
        """Tell whether what is named (``Type/id``) says who is who, and others wrote it."""
        literal = parse_literal(name)
        return literal is not None and self.others(literal.ref) is not None

    def _told(self, ref: Ref, *, kept: bool) -> Mapping[str, Any] | None:
        self.names[str(ref)] = None
        there = self.plan.get(ref) or self._stored(ref)
        if there is None or there.body is None:
            return None
        tree = codec.loads_object(there.body)
        if ref not in self.believed:
            stamped = ref.type not in NAMING or bool(there.index.get("kept"))
            self.believed[ref] = stamped or self._vouched(ref, tree, there.index)
        return tree if self.believed[ref] is kept else None

    def _vouched(self, ref: Ref, tree: Mapping[str, Any], index: Row) -> bool:
        """Tell whether all numbers of an entry are so: a structure's own, as its system was registered, or of an account tied to this entry."""
        numbers = [f"{each.get('system')}|{each.get('value')}" for each in tree.get("identifier") or ()]
        if ref.type == "Organization":
            return bool(numbers) and set(numbers) <= set(index.get("au") or ())
        national = [number for number in numbers if is_national(number)]
        if ref.type != "Practitioner" or not national or len(national) > MOST_NUMBERS:
            return False
        return all(self.env.tied(ref.type, number) == str(ref) for number in national)

    def _stored(self, ref: Ref) -> Stored | None:
        if ref not in self.found:
            self.found[ref] = self.env.store.find_current(ref)
        stored = self.found[ref]
        self.read[ref] = stored.version if stored else 0
        return stored


def authored(definitions: Definitions) -> Callable[[str], tuple[str, ...]]:
    """Return the function from a reference to the tokens of resources that say it is their author."""
    return lambda ref: tuple(dict.fromkeys(f"{name}={ref}" for name in _author_names(definitions)))


def _author_names(definitions: Definitions) -> Iterator[str]:
    members = definitions.compartments["Patient"].members
    for resource_type in members:
        params = definitions.search_params.get(resource_type, {})
        for code in AUTHORS:
            if code in params and params[code].type == "reference":
                yield from homes(params, resource_type, params[code])
