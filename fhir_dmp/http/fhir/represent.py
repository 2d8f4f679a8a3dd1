"""An answer in the form that was asked for: XML, indented, packed. https://hl7.org/fhir/R4/http.html#mime-type.

An answer that is wanted as it is stored passes through untouched.
"""

from __future__ import annotations

import gzip

from flask import Response

from fhir_dmp.fhir import codec, xml
from fhir_dmp.fhir.xml import Tables
from fhir_dmp.http.fhir.negotiate import AS_STORED, Form

XML = "application/fhir+xml; charset=utf-8"
_LEVEL = 1
"""Of gzip: bundles shrink to an eighth at it, and twice the work gains a few per cent."""


def represent(response: Response, form: Form, tables: Tables, gzip_from: int) -> Response:
    """Return the response in the form; bodies of ``gzip_from`` bytes or more are packed (0: none)."""
    if form is AS_STORED:
        return response
    body = response.get_data()
    if not body:
        return response
    if form.xml:
        body = xml.write(codec.loads_object(body), tables, pretty=form.pretty)
        response.headers["Content-Type"] = XML
    elif form.pretty:
        body = codec.pretty(body)
    if form.zipped and gzip_from and len(body) >= gzip_from:
        body = gzip.compress(body, _LEVEL, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept, Accept-Encoding"
    response.set_data(body)
    return response
