"""Rows of the log as they lie in the database: packed by Zstandard. https://www.rfc-editor.org/rfc/rfc8878.

A row says again and again what others say, and is short: it packs to a third beside a text that shows how rows look, and hardly at all
without. Whatever is hashed, exported or shown is the row's own text; a row of an earlier release lies there as text, and is read as it is.

A packed row is the number of the text that it was packed beside, one byte, and a frame.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from zstandard import (
    DICT_TYPE_RAWCONTENT,
    ZstdCompressionDict,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
    frame_content_size,
)

LARGEST = 64 * 1024 * 1024
"""Bytes of an unpacked row; the database takes no document above 16 MB, and none of ours is near it."""

_LEVEL = 1
_NUMBER = b"\x01"

_TEXT = b"".join(
    (
        b'"MedicationRequest":["Practitioner":["Procedure":["Immunization":["AllergyIntolerance":["CarePlan":["Composition":[',
        b'"Consent":["DiagnosticReport":["DocumentReference":["Encounter":["Condition":["error":{"code":"not-found","status":404},',
        b'"error":{"code":"forbidden","status":403},"why":["Consent/ v1, provision 1","author","not authorised","matrix ',
        b'"consents":["Consent/"person":{"kind":"professional","id":"urn:oid:1.2.250.1.71.4.2.1|8","resource":"Practitioner/',
        b'"name":"","profession":"10","specialty":"SM"}"kind":"patient""secret":true"purpose":"PATRQT","scopes":["openid ',
        b'patient/*.rs"system/*.cruds"account":{"id":"","identifier":"","method":"password"act":"token","act":"delete","on":"',
        b'"organization":"urn:oid:1.2.250.1.71.4.2.2|","hidden":true,"for":["Patient/","sealed":"","entries":[{"act":"create",',
        b'"on":"Observation/"},{"act":"update","on":"POST /fhir","PUT /fhir/PATCH /fhir/DELETE /fhir/Patient/$everything?',
        b"_getpages=&patient=&subject=&code=http://loinc.org|&date=ge&_count=20&_include=&_sort=-_lastUpdated&identifier=",
        b'"role":"lab","role":"app","act":"create","on":"Observation/"act":"update","on":"Patient/"act":"vread","on":"',
        b'{"v":2,"id":"01a2","recorded":"2026-11-26T08:42:44.134407Z","act":"search-type","on":"Observation","outcome":"0",',
        b'{"v":2,"id":"01a21705-7826-7f0b-96f5-","recorded":"2026-12-05T10:39:51.267805Z","act":"read","on":"Observation/01a2',
        b'/1","outcome":"0","agent":{"client":"ehr","role":"ehr","jti":"01a2"},"from":"127.0.0.1","request":"GET /fhir/',
        b'Observation/01a2","purpose":"TREAT","requestId":"01a2-7","touched":{"Patient/01a2":{"Observation":["01a2/1"]}}}',
    )
)
"""How rows look, what is most common last. Rows are packed beside it: a letter of it changed makes them unreadable, so another text
gets another number.
"""

_beside = ZstdCompressionDict(_TEXT, dict_type=DICT_TYPE_RAWCONTENT)
_own = threading.local()


def pack(texts: Sequence[bytes]) -> list[bytes]:
    """Return the texts packed, each by itself."""
    packed = _writer().compress
    return [_NUMBER + packed(text) for text in texts]


def unpack(stored: bytes) -> bytes:
    """Return the row's text; what nobody here packed is returned as it lies there, for whoever checks it to say so."""
    if not stored.startswith(_NUMBER):
        return stored
    frame = stored[1:]
    try:
        return stored if frame_content_size(frame) > LARGEST else _reader().decompress(frame, max_output_size=LARGEST)
    except ZstdError:
        return stored


def _writer() -> ZstdCompressor:
    """Return this thread's own: they are not for two at once."""
    writer: ZstdCompressor | None = getattr(_own, "writer", None)
    if writer is None:
        writer = ZstdCompressor(level=_LEVEL, dict_data=_beside, write_checksum=False, write_dict_id=False)
        _own.writer = writer
    return writer


def _reader() -> ZstdDecompressor:
    """Return this thread's own, as the writer is."""
    reader: ZstdDecompressor | None = getattr(_own, "reader", None)
    if reader is None:
        reader = _own.reader = ZstdDecompressor(dict_data=_beside)
    return reader
