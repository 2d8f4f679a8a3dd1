"""SMART scopes as a log may hold them: a restriction asks for what a query does, and is cut as one (``audit.asked``).

https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#finer-grained-resource-constraints-using-search-parameters
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from fhir_dmp.audit.asked import cleaned
from fhir_dmp.redaction import CUT, plain

_NAMED = "scope: "
"""How a reason begins that names the scopes by which something was refused."""

_RESTRICTED = re.compile(r"((?:patient|user|system)/[^\s?]*\?).*", re.DOTALL)
_ASKED = re.compile(r"(?<![^&\n])scope=([^&\n]*)")


def clean_scopes(scopes: Iterable[str]) -> list[str]:
    """Return scopes with the values of clinical parameters cut out of their restrictions."""
    return [cleaned(each) if "?" in each else each for each in scopes]


def clean_reasons(why: Iterable[str]) -> list[str]:
    """Return reasons with the scopes that they name cut; one that tells what is wrong with a restriction tells no more than whose it is."""
    return [_reason(each) if "?" in each else each for each in why]


def _reason(text: str) -> str:
    if text.startswith(_NAMED):
        return _NAMED + " ".join(clean_scopes(text.removeprefix(_NAMED).split(" ")))
    return _RESTRICTED.sub(rf"\1{CUT}", text)


def clean_form(form: str) -> str:
    """Return a form with the scopes cut that it asks for."""
    return _ASKED.sub(_asked, form)


def _asked(found: re.Match[str]) -> str:
    scopes = unquote_plus(found[1]).split(" ")
    cut = clean_scopes(scopes)
    return found[0] if cut == scopes else f"scope={CUT.join(plain(part, '?=') for part in ' '.join(cut).split(CUT))}"
