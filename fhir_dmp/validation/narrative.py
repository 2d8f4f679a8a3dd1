"""Is a narrative what it may be: formatting, and nothing that acts. https://hl7.org/fhir/R4/narrative.html#xhtml."""

from __future__ import annotations

from collections.abc import Mapping
from xml.parsers import expat

from fhir_dmp.fhir.xml import XHTML

_ELEMENTS = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "big",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "dfn",
        "div",
        "dl",
        "dt",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "li",
        "ol",
        "p",
        "pre",
        "q",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "tt",
        "ul",
        "var",
    ]
)
_SAFE_SCHEMES = ("http:", "https:", "mailto:", "tel:", "data:image/", "urn:")


class _RefusedError(Exception):
    pass


def wrong(text: str) -> str | None:
    """Return what is wrong with the XHTML of a narrative, or None.

    It must be one well-formed ``div`` of formatting elements, without scripts, event attributes, or a document type. That it is
    XHTML need not be said, as in JSON many leave it out; nothing else may be said.
    """
    parser = expat.ParserCreate()
    parser.UseForeignDTD(True)  # noqa: FBT003 - entities of HTML are then passed over instead of unknown
    parser.StartElementHandler = _start
    parser.StartDoctypeDeclHandler = _doctype
    parser.EntityDeclHandler = _doctype
    try:
        parser.Parse(text, True)  # noqa: FBT003 - it is the whole document
    except expat.ExpatError as fault:
        return f"must be well-formed XHTML: {expat.ErrorString(fault.code)}"
    except _RefusedError as refusal:
        return str(refusal)
    return None


def _start(name: str, attributes: Mapping[str, str]) -> None:
    if name not in _ELEMENTS:
        raise _RefusedError(f"must not hold the element {name[:40]!r} (txt-1)")
    for attribute, value in attributes.items():
        if attribute.lower().startswith("on"):
            raise _RefusedError(f"must not hold the attribute {attribute[:40]!r} (txt-1)")
        if attribute == "xmlns" and value != XHTML:
            raise _RefusedError(f"must be in the namespace {XHTML}")
        if attribute in ("href", "src") and _acts(value):
            raise _RefusedError(f"must not link to {value[:40]!r}")


def _acts(url: str) -> bool:
    folded = "".join(url.split()).lower()
    scheme = folded.partition("/")[0]
    return ":" in scheme and not folded.startswith(_SAFE_SCHEMES)


def _doctype(*_: object) -> None:
    raise _RefusedError("must not declare a document type or entities")
