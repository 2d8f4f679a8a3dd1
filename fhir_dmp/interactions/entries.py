"""From an entry of a bundle to the call that it is, and from what became of it to its answer.

https://hl7.org/fhir/R4/bundle-definitions.html#Bundle.entry.request.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.call import Act, Call, Context, Env
from fhir_dmp.clock import instant
from fhir_dmp.definitions.model import OperationDef
from fhir_dmp.errors import FhirError, Invalid, Issue, NotSupported, TooCostly, TooLong, UnknownType
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import STATUS, Entry
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.fhir.reference import below
from fhir_dmp.interactions.meeting import ToError
from fhir_dmp.interactions.operation import find
from fhir_dmp.interactions.requests import call_of, conditions_of, text_of

ORDER: Mapping[str, int] = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "OPERATION": 2, "GET": 3, "HEAD": 3}
"""When an entry is done, by its method. https://hl7.org/fhir/R4/http.html#trules."""

WRITES = ("create", "update", "patch", "delete")
_MOST_ISSUES = 100


class Asked(Struct, frozen=True):
    """One entry as it was asked: its place, its method, the call, and the resource it brings (empty if none).

    The method of a search is GET or HEAD; that of an operation is GET where it changes nothing, however it is called, and OPERATION
    where it does.
    """

    place: int
    method: str
    call: Call
    tree: dict[str, Any] = field(default_factory=dict)
    full_url: str | None = None


class At(ToError):
    """Says in which entry an error arose: ``with At(3): …`` puts ``Bundle.entry[3]`` before its expressions.

    ``of_query`` says that they are about a query, and so about no element of the entry's resource.
    """

    def __init__(self, place: int, *, of_query: bool = False) -> None:
        self._place = f"Bundle.entry[{place}]"
        self._of_query = of_query

    def say(self, error: FhirError) -> None:
        """Place the issues of what went wrong."""
        error.issues = tuple(self._placed(issue) for issue in error.issues)

    def _placed(self, issue: Issue) -> Issue:
        root, _, below = (issue.expression or "").partition(".")
        if (issue.expression or "").startswith(self._place):
            return issue
        if root.startswith("Bundle"):
            return replace(issue, expression=f"{self._place}.{below}" if below else self._place)
        if self._of_query or not root[:1].isupper():
            return replace(issue, expression=self._place)
        return replace(issue, expression=f"{self._place}.resource" + (f".{below}" if below else ""))


_T = TypeVar("_T")
_R = TypeVar("_R")


def each(items: Iterable[_T], place: Callable[[_T], int], do: Callable[[_T], _R]) -> list[_R]:
    """Return what ``do`` makes of every item; what is invalid is raised together, each with its place, by the places."""
    made: list[_R] = []
    issues: list[tuple[int, Issue]] = []
    first: Invalid | None = None
    met: dict[str, None] = {}
    for item in items:
        try:
            with At(place(item)):
                made.append(do(item))
        except Invalid as error:
            first = first or error
            met.update(dict.fromkeys(error.met))
            issues.extend((place(item), issue) for issue in error.issues)
            if len(issues) >= _MOST_ISSUES:
                break
    if first is not None:
        first.issues = tuple(issue for _, issue in sorted(issues, key=itemgetter(0))[:_MOST_ISSUES])
        first.met = tuple(met)
        raise first
    return made


def named(call: Call) -> Call:
    """Return the call as what its body says it is, parsed: a ``batch`` or a ``transaction``."""
    tree = codec.loads_object(call.body) if isinstance(call.body, bytes) else dict(call.body or {})
    if tree.get("resourceType") != "Bundle":
        raise Invalid("The base URL takes a Bundle: a batch or a transaction.", expression="resourceType")
    kind = tree.get("type")
    if kind not in ("batch", "transaction"):
        raise Invalid(f"A Bundle of the type {str(kind)[:64]!r} cannot be executed.", expression="Bundle.type")
    return replace(call, name=str(kind), body=tree)


def entries(call: Call, env: Env) -> Sequence[Any]:
    """Return the entries of the call's bundle; raise ``TooLong`` above the limit."""
    tree = call.body
    found = tree.get("entry", []) if isinstance(tree, Mapping) else []
    if not isinstance(found, list):
        raise Invalid("Bundle.entry must be a list.", expression="Bundle.entry")
    if len(found) > env.limits.bundle_entries:
        raise TooLong(f"A bundle may have {env.limits.bundle_entries} entries; this one has {len(found)}.")
    return found


def asked(place: int, entry: Any, context: Context, env: Env) -> Asked:
    """Return the call that the entry is; raise what is wrong with it, with expressions that start at ``Bundle``."""
    request = entry.get("request") if isinstance(entry, Mapping) else None
    if not isinstance(request, Mapping):
        raise Invalid("The entry has no request.", expression="Bundle.request")
    method, url = request.get("method"), text_of(request, "url")
    if not isinstance(method, str) or method not in ORDER:
        raise Invalid(
            f"request.method is GET, HEAD, POST, PUT, PATCH or DELETE, not {str(method)[:20]!r}.",
            expression="Bundle.request.method",
        )
    if url is None:
        raise Invalid("The request has no url.", expression="Bundle.request.url")
    tree = entry.get("resource") if method in ("POST", "PUT", "PATCH") else None
    call = call_of(method, below(url, context.base_url).lstrip("/"), conditions_of(request, method), tree)
    if call.type is not None and call.type not in env.definitions.search_params:
        raise UnknownType(f"{call.type[:64]!r} is no resource type of FHIR R4.", expression="Bundle.request.url")
    full_url = entry.get("fullUrl")
    if full_url is not None and not isinstance(full_url, str):
        raise Invalid("fullUrl must be a string.", expression="Bundle.fullUrl")
    if call.name.startswith("search"):
        return Asked(place, "GET" if method == "POST" else method, _searching(call, tree))
    if call.operation is not None:
        return Asked(place, "OPERATION" if _operation(call, env).affects_state else "GET", call)
    if method == "PATCH":
        return Asked(place, method, replace(call, body=_patch(tree)), full_url=full_url)
    if method in ("POST", "PUT"):
        _require_resource(tree, method, call)
    return Asked(place, method, call, tree or {}, full_url)


def full(env: Env) -> TooCostly:
    """Return the refusal of a read whose bundle has read as much already as one body holds (``limits.body``)."""
    return TooCostly(f"The reads before it brought {env.limits.body} bytes: ask for this one alone.")


def size_of(act: Act) -> int:
    """Return how many bytes an act brought."""
    return len(act.result.body or b"") if act.result else 0


def _searching(call: Call, tree: Any) -> Call:
    """Return the search that the entry is; one by POST has its parameters in its url, since a form is no resource."""
    if tree is not None:
        raise Invalid("A search has its parameters in the url, and no resource.", expression="Bundle.resource")
    return call


def _patch(tree: Any) -> Any:
    """Return the patch that the entry brings: Parameters, or a JSON Patch within a Binary."""
    if not isinstance(tree, dict):
        raise Invalid(
            "PATCH needs a resource: Parameters, or a Binary with a JSON Patch.", expression="Bundle.resource"
        )
    if tree.get("resourceType") != "Binary":
        return tree
    try:
        return b64decode(str(tree.get("data", "")), validate=True)
    except ValueError:
        raise Invalid("Binary.data is not base64.", expression="Bundle.resource.data") from None


def _operation(call: Call, env: Env) -> OperationDef:
    """Return the operation that the entry calls; one that answers with a file (Binary), which no Bundle holds, is sent alone."""
    try:
        found = find(call, env.definitions)
    except NotSupported as error:
        raise NotSupported(str(error), expression="Bundle.request.url") from None
    if any(each.use == "out" and each.type == "Binary" for each in found.parameters):
        raise NotSupported(f"${found.code} is sent alone, not in a bundle.", expression="Bundle.request.url")
    return found


def _require_resource(tree: Any, method: str, call: Call) -> None:
    if not isinstance(tree, dict):
        raise Invalid(f"{method} needs a resource.", expression="Bundle.resource")
    if tree.get("resourceType") != call.type:
        raise Invalid(
            f"The resource is a {str(tree.get('resourceType'))[:64]!r}, the url says {call.type}.",
            expression="Bundle.request.url",
        )


def answer(act: Act, context: Context, asking: Call) -> Entry:
    """Return the response entry of one act; a resource goes out only where it was asked for."""
    if act.result is None:
        error = act.error or FhirError("The entry failed.")
        return Entry(response={"status": str(error.status), "outcome": outcome(error.issues)})
    result, writes = act.result, act.call.name in WRITES
    response: dict[str, Any] = {"status": STATUS[result.outcome]}
    if writes and result.ref is not None and act.call.name != "delete":
        version = f"/_history/{result.version}" if result.version is not None else ""
        response["location"] = f"{context.base_url}/{result.ref}{version}"
    if result.version is not None:
        response["etag"] = f'W/"{result.version}"'
    if result.updated is not None:
        response["lastModified"] = instant(result.updated)
    if writes and asking.prefer == "OperationOutcome":
        issue = Issue("informational", f"The {act.call.name} was done.", severity="information")
        response["outcome"] = outcome([issue])
    wanted = asking.prefer == "representation" if writes else result.outcome != "not-modified"
    return Entry(body=result.body if wanted else None, response=response)
