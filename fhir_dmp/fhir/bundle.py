"""Bundles as joined bytes: a stored body is never parsed to be sent. https://hl7.org/fhir/R4/bundle.html."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref

STATUS = {
    "ok": "200 OK",
    "created": "201 Created",
    "no-content": "204 No Content",
    "not-modified": "304 Not Modified",
    "accepted": "202 Accepted",
}
"""The words of ``Bundle.entry.response.status`` for the outcomes of a Result."""


class Entry(Struct, frozen=True):
    """One entry: ``body`` is a resource as bytes; the other parts are small documents."""

    full_url: str | None = None
    body: bytes | None = None
    search_mode: str | None = None
    request: Mapping[str, Any] | None = None
    response: Mapping[str, Any] | None = None


def bundle(
    kind: str,
    entries: Iterable[Entry | bytes],
    *,
    links: Mapping[str, str] | None = None,
    total: int | None = None,
    updated: str | None = None,
    bundle_id: str | None = None,
) -> bytes:
    """Return a Bundle of the type ``kind``; ``links`` are relation to URL, ``updated`` is ``meta.lastUpdated``.

    Entries that are ``shown`` are bytes already.
    """
    head: dict[str, Any] = {"resourceType": "Bundle"}
    if bundle_id:
        head["id"] = bundle_id
    if updated:
        head["meta"] = {"lastUpdated": updated}
    head["type"] = kind
    if total is not None:
        head["total"] = total
    if links:
        head["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    parts = [entry if isinstance(entry, bytes) else _entry(entry) for entry in entries]
    start = codec.dumps(head)[:-1]
    return start + b',"entry":[' + b",".join(parts) + b"]}" if parts else start + b"}"


def shown(resources: Iterable[tuple[Ref, bytes | None]], mode: str, base_url: str) -> Iterator[bytes]:
    """Yield the entries of what a search found or brought along: nearly all entries there are, so each by one join."""
    start, between = codec.dumps(f"{base_url}/")[:-1], b'","resource":'
    end = b',"search":{"mode":"%b"}}' % mode.encode()
    for ref, body in resources:
        yield b'{"fullUrl":%b%b%b%b%b' % (start, str(ref).encode(), between, body or b"null", end)


def _entry(entry: Entry) -> bytes:
    parts = []
    if entry.full_url is not None:
        parts.append(b'"fullUrl":' + codec.dumps(entry.full_url))
    if entry.body is not None:
        parts.append(b'"resource":' + entry.body)
    if entry.search_mode is not None:
        parts.append(b'"search":{"mode":"' + entry.search_mode.encode() + b'"}')
    if entry.request is not None:
        parts.append(b'"request":' + codec.dumps(entry.request))
    if entry.response is not None:
        parts.append(b'"response":' + codec.dumps(entry.response))
    return b"{" + b",".join(parts) + b"}"
