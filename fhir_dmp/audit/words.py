"""An event in words, for those whom it concerns: who, when, where, why, on what. https://hl7.org/fhir/R4/narrative.html.

French first, English too. A sentence is made from the row alone, as the AuditEvent is; clinical words are not in a row, so none is
here, but for the reason that was written for breaking the glass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fhir_dmp.audit.nouns import NOUNS
from fhir_dmp.audit.parts import Part, Row
from fhir_dmp.audit.verbs import ASKED, LEFT, OF_NOBODY, OTHER, SAID_NO, VERBS, Verb
from fhir_dmp.token_act import DECLINED

Language = Literal["fr", "en"]

_PARIS = ZoneInfo("Europe/Paris")
_MONTHS = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split()
_ENGLISH_MONTHS = "January February March April May June July August September October November December".split()

_COLON = (" : ", ": ")

_WHY: Mapping[str, tuple[str, str]] = {
    "TREAT": ("pour des soins", "for care"),
    "BTG": ("en urgence, par bris de glace", "in an emergency, by breaking the glass"),
    "ETREAT": (
        "en urgence, par un centre de régulation (centre 15)",
        "in an emergency, by a regulation centre (centre 15)",
    ),
    "PATRQT": ("à la demande du patient lui-même", "at the patient's own request"),
    "FAMRQT": ("à la demande d'un représentant légal", "at the request of a legal representative"),
    "PATADMIN": ("pour la gestion du dossier", "for the administration of the record"),
    "HSYSADMIN": ("pour la gestion du système", "for the administration of the system"),
}

_HOW: Mapping[str, tuple[str, str]] = {
    "4": ("La demande n'a pas abouti.", "The request did not succeed."),
    "8": ("L'accès a été refusé.", "Access was refused."),
    "12": ("Le serveur n'a pas pu répondre.", "The server could not answer."),
}
_FAULT = ("Le serveur a rencontré une erreur ; rien n'a été transmis.", "The server met an error; nothing was sent.")
_FAULT_STATUS = 500
_UPKEEP = ("audit-retire", "audit-rotate-key", "audit-verify")
"""Acts on the log as a whole: where one came to nothing nobody was refused anything."""

_UNSOUND = ("Les traces ne sont pas ce qui a été signé.", "The log is not what was signed.")

_PROFESSION: Mapping[str, tuple[str, str]] = {
    "10": ("médecin", "physician"),
    "21": ("pharmacien", "pharmacist"),
    "40": ("chirurgien-dentiste", "dentist"),
    "50": ("sage-femme", "midwife"),
    "60": ("infirmier", "nurse"),
    "70": ("masseur-kinésithérapeute", "physiotherapist"),
    "80": ("pédicure-podologue", "podiatrist"),
}


def narrative(row: Row, part: Part, language: Language, names: Sequence[str], reason: str | None) -> dict[str, str]:
    """Return ``text`` of the AuditEvent: ``names`` are the versions that the reader may know of."""
    sentences = list(_sentences(row, part, language, names, reason))
    div = "".join(f"<p>{escape(sentence, quote=False)}</p>" for sentence in sentences)
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml" lang="{language}" xml:lang="{language}">{div}</div>',
    }


def _sentences(row: Row, part: Part, language: Language, names: Sequence[str], reason: str | None) -> Iterable[str]:
    place = ("fr", "en").index(language)
    did = _did(row, part, place)
    what = _what(names, place) or _whose(row, part, place)
    why = _WHY.get(row.get("purpose", ""), ("", ""))[place]
    yield f"{_when(row['recorded'], language)}{_COLON[place]}{_who(row, part, place)} {did}{what}{f', {why}' if why else ''}."
    if "from" in row:
        yield f"{('Depuis', 'From')[place]} {row['from']}."
    if part.outcome in _HOW:
        yield _how(row, part)[place]
    if reason:
        yield f"{('Motif écrit', 'Reason given')[place]}{_COLON[place]}{reason}"
    if part.act == "submitted":
        yield (
            "Cette trace est celle de ce système ; le serveur ne l'a pas constatée lui-même.",
            "This event is that system's word; the server did not see it itself.",
        )[place]


def _did(row: Row, part: Part, place: int) -> str:
    """Return what somebody did, or what they asked to do where nothing came of it."""
    verb = _verb(row, part)
    in_vain = verb.to is not None and part.outcome != "0" and _how(row, part) is not _UNSOUND
    return f"{ASKED[place]} {verb.to[place]}" if verb.to and in_vain else verb.did[place]


def _verb(row: Row, part: Part) -> Verb:
    if _is_left(row, part):
        return LEFT
    if DECLINED in row.get("why", ()):
        return SAID_NO
    of_nobody = None if part.patient else OF_NOBODY.get(part.act)
    return of_nobody or VERBS.get(part.act, OTHER)


def _how(row: Row, part: Part) -> tuple[str, str]:
    """Return how it ended, of what was no success."""
    error = row.get("error", {})
    if part.outcome == "8" and error.get("status") == _FAULT_STATUS:
        return _FAULT
    if part.act in _UPKEEP:
        return _UNSOUND if part.act == "audit-verify" and error.get("code") == "conflict" else _HOW["4"]
    return _HOW[part.outcome]


def _is_left(row: Row, part: Part) -> bool:
    """Tell whether all that was to be changed was so already."""
    return bool(part.names) and set(part.names) <= set(row.get("stayed", ()))


def _when(recorded: str, language: Language) -> str:
    moment = datetime.fromisoformat(recorded).astimezone(_PARIS)
    if language == "fr":
        return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year} à {moment:%H:%M:%S}"
    return f"{moment.day} {_ENGLISH_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M:%S} (Paris)"


def _who(row: Row, part: Part, place: int) -> str:
    person: Mapping[str, Any] = row.get("person", {})
    agent: Mapping[str, str] = row.get("agent", {})
    client = agent.get("client")
    if _proves_itself(row, part):
        return f"{('le titulaire du compte', 'the owner of the account')[place]} {_account(row)}"
    if not person:
        by = f" ({agent['operator']})" if "operator" in agent else ""
        where = _structure(agent, place)
        return (
            f"{('le système', 'the system')[place]} {client}{by}{where}"
            if client
            else ("un inconnu", "a stranger")[place]
        )
    kinds = {
        "holder": ("le patient", "the patient"),
        "representative": ("un représentant légal", "a legal representative"),
    }
    name = person.get("name") or person.get("id", "")
    told = _PROFESSION.get(person.get("profession", ""), kinds.get(person.get("kind", ""), ("", "")))[place]
    by = f" {('par', 'by')[place]} {client}" if client else ""
    return f"{name}{f' ({told})' if told else ''}{_structure(agent, place)}{by}"


def _proves_itself(row: Row, part: Part) -> bool:
    """Tell whether it is the account alone that says who acted: somebody signed in by it, or out; who failed to is unknown."""
    return part.act in ("login", "logout") and part.outcome == "0" and "person" not in row and bool(_account(row))


def _account(row: Row) -> str:
    """Return what people call the account that was used or changed, or else its number."""
    account: Mapping[str, str] = row.get("account", {})
    return account.get("name") or account.get("identifier", "").rpartition("|")[2] or account.get("id", "")


def _whose(row: Row, part: Part, place: int) -> str:
    """Return which client it was about, or which account, where that is not who acted."""
    own = _proves_itself(row, part) or row.get("person", {}).get("id") == row.get("account", {}).get("identifier")
    about = row.get("client") or ("" if own else _account(row))
    return f"{_COLON[place]}{about}" if about else ""


def _structure(agent: Mapping[str, str], place: int) -> str:
    if "organization" not in agent:
        return ""
    return f" ({('structure', 'organization')[place]} {agent['organization'].rpartition('|')[2]})"


def _what(names: Sequence[str], place: int) -> str:
    """Return how many items of which kind."""
    counted = Counter(name.partition("/")[0] for name in names if name)
    if not counted:
        return ""
    words = [
        f"{NOUNS.get(kind, (kind, kind))[place]}{f' ({number})' if number > 1 else ''}"
        for kind, number in counted.items()
    ]
    return f"{_COLON[place]}{', '.join(words)}"
