"""An answer in the form that was asked for: XML, indented, packed. https://hl7.org/fhir/R4/http.html#mime-type.

An answer that is wanted as it is stored passes through untouched.
"""

from __future__ import annotations

import gzip
from base64 import b64decode
from http import HTTPStatus

from flask import Response

from fhir_dmp.fhir import codec, xml
from fhir_dmp.fhir.xml import Tables
from fhir_dmp.http.errors import JSON
from fhir_dmp.http.fhir.negotiate import AS_STORED, Form

XML = "application/fhir+xml; charset=utf-8"
_LEVEL = 1
"""Of gzip: bundles shrink to an eighth at it, and twice the work gains a few per cent."""


def represent(response: Response, form: Form, tables: Tables, gzip_from: int) -> Response:
    """Return the response in the form; bodies of ``gzip_from`` bytes or more are packed (0: none). What is no FHIR has no other form."""
    if form is AS_STORED:
        return response
    body = response.get_data()
    if not body:
        return response
    if form.native and response.status_code == HTTPStatus.OK:
        content = _content(body, form.native)
        if content is not None:
            response.headers["Content-Type"], body = content
            response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
            response.set_data(body)
            return response
    fhir = response.content_type == JSON
    if form.xml and fhir:
        body = xml.write(codec.loads_object(body), tables, pretty=form.pretty)
        response.headers["Content-Type"] = XML
    elif form.pretty and fhir:
        body = codec.pretty(body)
    if form.zipped:
        body, told = packed(body, gzip_from)
        response.headers.extend(told)
    response.set_data(body)
    return response


def _content(body: bytes, kinds: frozenset[str]) -> tuple[str, bytes] | None:
    """Return the content of a Binary and its type, if it is one of those that are asked for. https://hl7.org/fhir/R4/binary.html#rest."""
    tree = codec.loads_object(body)
    kind = str(tree.get("contentType", ""))
    own = kind.partition(";")[0].strip().lower()
    if tree.get("resourceType") != "Binary" or kinds.isdisjoint((own, f"{own.partition('/')[0]}/*", "*/*", "*")):
        return None
    return kind, b64decode(str(tree.get("data", "")))


def packed(body: bytes, gzip_from: int) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the body for who takes gzip, and the headers that tell of it: one that is short, or none, is left as it is."""
    if not gzip_from or len(body) < gzip_from:
        return body, []
    return gzip.compress(body, _LEVEL, mtime=0), [("Content-Encoding", "gzip"), ("Vary", "Accept, Accept-Encoding")]
