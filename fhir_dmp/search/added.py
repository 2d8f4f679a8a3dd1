"""Search parameters beside those of R4, as far as they are indexed. https://hl7.org/fhir/R4/searchparameter.html.

What is written is indexed by all of them; only those by which everything is indexed are asked for. A worker looks at what the database says of
them at most ``POLL_SECONDS`` before it uses it, so that a new one is known everywhere without a restart.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from functools import cached_property
from typing import Any

from fhir_dmp.definitions.bindings import bound_param
from fhir_dmp.definitions.compiler import COMMON, Compiler, Element, UnsupportedError
from fhir_dmp.definitions.model import Definitions, SearchParam
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.fibres import offload
from fhir_dmp.search.model import Params
from fhir_dmp.store.indexes import AddedParam

POLL_SECONDS = 1.0

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_LONGEST = 1000
"""Characters of an expression that is compiled."""

ByType = Mapping[str, SearchParam]
"""One parameter as it applies to each of its types."""


class View(Mapping[str, Params]):
    """The parameters of each type, as they stand when they are looked at."""

    def __init__(self, now: Callable[[], Mapping[str, Params]]) -> None:
        self._now = now

    def __getitem__(self, resource_type: str) -> Params:
        return self._now()[resource_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


class Added:
    """Puts the added parameters beside those of the tables; ``read`` gives what the database says of them."""

    def __init__(
        self,
        definitions: Definitions,
        read: Callable[[], tuple[AddedParam, ...]],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._definitions = definitions
        self._read = read
        self._ticks = ticks
        self._lock = threading.Lock()
        self._known: tuple[AddedParam, ...] | None = None
        self._until = float("-inf")
        self._changes = 0
        self._fault: FhirError | None = None
        self._looks = 0
        self._served = self._indexed = definitions.search_params
        self.tabled = _tabled(definitions)
        """Those that stand in the tables, by URL."""

        self.served: Mapping[str, Params] = View(lambda: self._look()[0])
        """The parameters that are asked for."""

        self.indexed: Mapping[str, Params] = View(lambda: self._look()[1])
        """The parameters that rows are indexed by."""

    @property
    def changes(self) -> int:
        """How often the parameters have changed, as far as this worker knows: what was made of them is good for one number."""
        self._look()
        return self._changes

    def refresh(self) -> None:
        """Look at the database now."""
        with self._lock:
            self._load()

    def compile(self, definition: Mapping[str, Any]) -> ByType:
        """Return the parameter for each of its types; raise ``UnsupportedError`` saying why it cannot be one."""
        return compile_posted(definition, self._compiler, self._definitions)

    @cached_property
    def _compiler(self) -> Compiler:
        """Made when the first parameter is posted: most servers never need it."""
        return compiler_of(self._definitions)

    def _look(self) -> tuple[Mapping[str, Params], Mapping[str, Params]]:
        """Return the parameters that are asked for and those that rows are indexed by, as they stood a moment ago."""
        if self._ticks() >= self._until:
            offload(self._look_again)
        return self._served, self._indexed

    def _look_again(self) -> None:
        """Look at the database now, unless somebody has meanwhile; whoever waited while it did not answer is not kept waiting for it again."""
        asked = self._looks
        with self._lock:
            if self._fault is not None and self._looks > asked:
                raise copy(self._fault).with_traceback(None)
            if self._ticks() >= self._until:
                self._try()

    def _try(self) -> None:
        self._fault = None
        try:
            self._load()
        except FhirError as fault:
            self._fault = fault
            raise
        finally:
            self._looks += 1

    def _load(self) -> None:
        until = self._ticks() + POLL_SECONDS
        known = self._read()
        if known != self._known:
            self._served, self._indexed = self._merged(known)
            self._known = known
            self._changes += 1
        self._until = until

    def _merged(self, known: tuple[AddedParam, ...]) -> tuple[Mapping[str, Params], Mapping[str, Params]]:
        by_url = {each.url: each for each in known}
        indexed, unasked = dict(self.tabled), set()
        for each in known:
            if each.definition is not None and each.url not in self.tabled:
                with suppress(UnsupportedError):  # it was none when it was taken up: the tables have changed since
                    indexed[each.url] = self.compile(codec.loads_object(each.definition))
        for url, params in indexed.items():
            state = by_url.get(url)
            if state is None or not state.complete or state.fingerprint != fingerprint(params):
                unasked.add(url)
        if not indexed:
            return self._definitions.search_params, self._definitions.search_params
        served = {url: params for url, params in indexed.items() if url not in unasked}
        return self._with(served), self._with(indexed)

    def _with(self, added: Mapping[str, ByType]) -> Mapping[str, Params]:
        """Return the tables with these parameters in place of the added ones that stand in them."""
        found: dict[str, Params] = {}
        for resource_type, params in self._definitions.search_params.items():
            own = [by_type[resource_type] for by_type in added.values() if resource_type in by_type]
            kept = {code: param for code, param in params.items() if not param.added}
            changed = own or len(kept) != len(params)
            found[resource_type] = {**kept, **{param.code: param for param in own}} if changed else params
        return found


def compiler_of(definitions: Definitions) -> Compiler:
    """Return the compiler for SearchParameters over these types."""
    elements = {
        name: {each.name: Element(each.name, each.type, each.choice) for each in kind.elements.values()}
        for name, kind in definitions.types.items()
    }
    known = {
        param.url: (param.code, param.type)
        for params in definitions.search_params.values()
        for param in params.values()
    }
    return Compiler(elements, definitions.resource_types, known)


def compile_posted(definition: Mapping[str, Any], compiler: Compiler, definitions: Definitions) -> ByType:
    """Return a posted SearchParameter for each of its types, within bounds; raise ``UnsupportedError`` with the reason."""
    code, expression = str(definition.get("code")), str(definition.get("expression", ""))
    if not _CODE.fullmatch(code):
        raise UnsupportedError("its code is not letters, digits and hyphens")
    if len(expression) > _LONGEST:
        raise UnsupportedError(f"its expression has more than {_LONGEST} characters")
    found: dict[str, SearchParam] = {}
    for base in definition.get("base") or ():
        if not compiler.types_of(base):
            raise UnsupportedError(f"{base} is no resource type")
        for resource_type in compiler.types_of(base):
            given = definitions.search_params[resource_type].get(code)
            if given is not None and not given.added:
                raise UnsupportedError(f"{resource_type}.{code} is one of R4's")
            param = _compiled(definition, resource_type, compiler, everywhere=base in COMMON)
            if param is not None:
                found[resource_type] = bound_param(param, resource_type, definitions.types)
    if not found:
        raise UnsupportedError("it is for no type")
    return found


def _compiled(
    definition: Mapping[str, Any], resource_type: str, compiler: Compiler, *, everywhere: bool
) -> SearchParam | None:
    """Return the parameter for a type; one that is for all types is left out where it says nothing."""
    try:
        return compiler.param(definition, resource_type, added=True)
    except RecursionError:
        raise UnsupportedError("its expression is too deep") from None
    except UnsupportedError:
        if everywhere:
            return None
        raise


def fingerprint(params: ByType) -> str:
    """Return what tells whether a parameter is compiled to the same as before."""
    text = "\n".join(f"{name} {param!r}" for name, param in sorted(params.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _tabled(definitions: Definitions) -> dict[str, ByType]:
    found: dict[str, dict[str, SearchParam]] = {}
    for resource_type, params in definitions.search_params.items():
        for param in params.values():
            if param.added:
                found.setdefault(param.url, {})[resource_type] = param
    return dict(found)
