"""From a Consent to what it says, and from that to rules. https://profiles.ihe.net/ITI/PCF/volume-1.html.

A Consent is enforced exactly or refused: ``compile_consent`` raises ``Unprocessable`` for whatever the rules could not mean.
A root ``deny`` opposes, a root ``permit`` opens; the provisions within are exceptions to it and to nothing else. Purposes
are compared by exact code.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.kinds import DIRECTORY, is_misspelt, is_national, rpps
from fhir_dmp.access.model import Rule
from fhir_dmp.access.policy import Actors, Data, Entry, Period, Provision
from fhir_dmp.clock import micros_of, moment
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir.dates import days
from fhir_dmp.fhir.reference import Ref, local
from fhir_dmp.store.query import LONGEST, And, Between, Eq, In, Lasts, Not, Or, Query, both, either, prefix

SCOPE = "patient-privacy"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
MOST_ACTORS = 200
"""Alternatives that one actor of a provision may stand for: the members of a group, the numbers of a person in each of a structure."""

_NORMAL = f"{CONFIDENTIALITY}|N"
_NOT_ENFORCED = ("action", "class", "code")
_OF_ACCESS = ("action", "class", "purpose", "securityLabel", "data", "dataPeriod")
"""Elements of a provision that speak of who sees what, and of nothing else."""

_OF_ROWS = ("data", "dataPeriod", "securityLabel")
"""Those of them that tell single rows of a record apart."""

_SAYING_MORE = ("OPTIN", "OPTINR", "EMRGONLY")
"""Base policies of v3-ActCode that open more than the provision beside them says."""

_RECIPIENT = "IRCP"
_TWO = 2
"""Numbers of the national register that no single person has: who wrote down both would let in one by the name of the other."""


def _nobody(_: Ref) -> None:
    return None


class Registry(Struct, frozen=True):
    """What compiling needs to know of other resources.

    ``find`` returns a resource of this server (parsed), or None, as it does for who is who where others wrote that than the keeper of the
    directory, a structure of itself, or who is tied to it by an account: these ``others`` returns, and their numbers name nobody.
    ``authored`` gives the index tokens by which a resource
    is told to be authored by a reference (``Observation.performer=Practitioner/x``); ``base_url`` that of the FHIR endpoint.
    At ``majority`` years parents act for nobody; days, of this and of periods, are those of ``zone``. ``again``: it was compiled before, and who
    cannot be told any more is nobody, instead of being refused. ``several``: all doctors that a Patient names are attending, not the first
    alone.
    """

    find: Callable[[Ref], Mapping[str, Any] | None]
    authored: Callable[[str], tuple[str, ...]]
    base_url: str
    majority: int = 18
    zone: tzinfo = UTC
    again: bool = False
    several: bool = True
    others: Callable[[Ref], Mapping[str, Any] | None] = _nobody


def is_privacy(tree: Mapping[str, Any]) -> bool:
    """Tell whether a Consent is about access to the record and in force; any other is data.

    Raises ``Unprocessable`` for one in force that leaves open which it is, or says of access under another scope what
    would be stored and never looked at.
    """
    if tree.get("status") != "active":
        return False
    codes = [coding.get("code") for coding in (tree.get("scope") or {}).get("coding") or ()]
    if SCOPE in codes:
        return True
    if not any(codes):
        raise refused("its scope is not coded, and access is told by patient-privacy alone", "Consent.scope")
    if _speaks_of_access(tree.get("provision") or {}):
        raise refused(f"its provision is about access and its scope ({codes[0]}) is not", "Consent.scope")
    return False


def _speaks_of_access(provision: Mapping[str, Any]) -> bool:
    """Tell whether a provision under another scope says who sees what: a bare denial, too, for it names nothing else that is denied."""
    roles = [coding for item in provision.get("actor") or () for coding in (item.get("role") or {}).get("coding") or ()]
    return (
        any(name in provision for name in _OF_ACCESS)
        or any(coding.get("code") == _RECIPIENT for coding in roles)
        or (provision.get("type") == "deny" and "code" not in provision)
        or any(map(_speaks_of_access, provision.get("provision") or ()))
    )


def compile_consent(tree: Mapping[str, Any], source: str, version: int, registry: Registry) -> Entry:
    """Return what the Consent says; raise ``Unprocessable`` if it says what cannot be enforced exactly."""
    if "patient" not in tree:
        raise refused("it names no patient", "Consent.patient")
    provision = tree.get("provision")
    if not isinstance(provision, Mapping):
        raise refused("it has no provision", "Consent.provision")
    if "implicitRules" in tree or _has_modifiers({name: tree[name] for name in tree if name != "contained"}):
        raise refused("its modifiers are not known here", "Consent")
    if any(each.get("verified") is False for each in tree.get("verification") or ()):
        raise refused("it says of itself that it was not verified", "Consent.verification")
    base = [coding.get("code") for coding in (tree.get("policyRule") or {}).get("coding") or ()]
    if any(code in _SAYING_MORE for code in base):
        raise refused("its policyRule opens more than its provision says", "Consent.policyRule")
    root = _provision(provision, registry, "Consent.provision")
    if not root.permit and any(not each.permit for each in root.exceptions):
        raise refused("a deny within a deny adds nothing", "Consent.provision.provision")
    if any(_is_whole(each, root) for each in root.exceptions):
        raise refused("an exception takes back all that is said around it", "Consent.provision.provision")
    return Entry(source, version, provision=root, about=_about(provision, registry))


def _has_modifiers(part: Any) -> bool:
    if isinstance(part, Mapping):
        return "modifierExtension" in part or any(map(_has_modifiers, part.values()))
    return isinstance(part, list) and any(map(_has_modifiers, part))


def _is_whole(exception: Provision, root: Provision) -> bool:
    return exception.permit is not root.permit and replace(exception, permit=root.permit) == replace(
        root, exceptions=()
    )


def _about(provision: Mapping[str, Any], registry: Registry) -> tuple[str, ...]:
    """Return whom the root names, in the words of the Consent: several names of one actor are one actor."""
    references = (item.get("reference") or {} for item in provision.get("actor") or ())
    return tuple(dict.fromkeys(written(each, registry) for each in references))


def written(reference: Mapping[str, Any], registry: Registry) -> str:
    """Return the name that a reference writes: ``Type/id``, or ``system|value``."""
    ref = local(reference.get("reference") or "", registry.base_url)
    identifier = reference.get("identifier") or {}
    return str(ref) if ref else f"{identifier.get('system')}|{identifier.get('value')}"


def reference_of(name: str) -> Mapping[str, Any]:
    """Return the reference that writes this name."""
    system, bar, value = name.partition("|")
    return {"identifier": {"system": system, "value": value}} if bar else {"reference": name}


def _provision(tree: Mapping[str, Any], registry: Registry, path: str, within: Provision | None = None) -> Provision:
    for name in _NOT_ENFORCED:
        if name in tree:
            raise refused(f"provision.{name} is not enforced", f"{path}.{name}")
    if tree.get("type") not in ("permit", "deny"):
        raise refused("a provision permits or denies", f"{path}.type")
    inner = tree.get("provision") or ()
    if inner and within is not None:
        raise refused("provisions are enforced two levels deep", f"{path}.provision")
    actors = tuple(each for item in tree.get("actor") or () for each in _actor(item, registry, f"{path}.actor"))
    if tree.get("actor") and not actors:
        raise refused("its actors name nobody", f"{path}.actor")
    purposes = tuple(_coded(item, f"{path}.purpose") for item in tree.get("purpose") or ())
    own = Provision(
        permit=tree["type"] == "permit",
        actors=actors or (within.actors if within else ()),
        purposes=purposes or (within.purposes if within else ()),
        period=_valid(tree.get("period"), registry.zone, f"{path}.period", within.period if within else Period()),
        data=_data(tree, registry, path, within.data if within else Data()),
    )
    exceptions = tuple(_provision(each, registry, f"{path}.provision", own) for each in inner)
    return Provision(own.permit, own.actors, own.purposes, own.period, own.data, exceptions)


def _valid(tree: Mapping[str, Any] | None, zone: tzinfo, path: str, around: Period) -> Period:
    """Return when a provision holds: never longer than the one around it."""
    period = around.within(period_of(tree, zone, path) if tree else Period())
    if period.is_empty:
        raise refused("it holds at no time that the provision around it does", path)
    return period


def _data(tree: Mapping[str, Any], registry: Registry, path: str, within: Data) -> Data:
    """Return which rows are meant; what is not stated is as in the provision around it."""
    instances: list[str] = []
    tokens: list[str] = []
    authors: list[str] = []
    for item in tree.get("data") or ():
        ref = local((item.get("reference") or {}).get("reference") or "", registry.base_url)
        if ref is None:
            raise refused("its data must be references to resources here", f"{path}.data.reference")
        match item.get("meaning"):
            case "instance":
                instances.append(str(ref))
            case "related" if ref.type == "Encounter":
                instances.append(str(ref))
                tokens.append(f"@{ref}")
            case "authoredby":
                authors.extend(_stamps(ref, registry))
                tokens.extend(registry.authored(str(ref)))
            case meaning:
                raise refused(f"data that is {meaning!r} of a {ref.type} is not told apart", f"{path}.data.meaning")
    named = bool(instances or tokens or authors)
    labels = tuple(_coded(item, f"{path}.securityLabel") for item in tree.get("securityLabel") or ())
    return Data(
        instances=tuple(instances) if named else within.instances,
        tokens=tuple(tokens) if named else within.tokens,
        authors=tuple(authors) if named else within.authors,
        labels=labels or within.labels,
        period=period_of(tree["dataPeriod"], UTC, f"{path}.dataPeriod") if tree.get("dataPeriod") else within.period,
    )


def _stamps(ref: Ref, registry: Registry) -> tuple[str, ...]:
    """Return the names under which an author is stamped on what they write; a role is no author of its own.

    A Practitioner without national numbers, whoever wrote it, is the author of what refers to it and of nothing else.
    """
    if ref.type == "Practitioner" and not _national(registry.find(ref) or registry.others(ref)):
        return (str(ref),)
    names = _resolved(ref, registry) if ref.type in ("Practitioner", "Organization") else ()
    return tuple(dict.fromkeys((str(ref), *(name for each in names for name in each))))


def _actor(item: Mapping[str, Any], registry: Registry, path: str) -> Actors:
    codings = (item.get("role") or {}).get("coding") or ()
    if not any(coding.get("code") == _RECIPIENT for coding in codings):
        raise refused("an actor is a recipient of information (IRCP)", f"{path}.role")
    reference = item.get("reference") or {}
    if "reference" not in reference:
        _require_plain(reference.get("identifier") or {}, f"{path}.reference.identifier")
    found = named_by(reference, registry)
    if not found and registry.again:
        return ((written(reference, registry),),)
    if not found:
        raise refused("an actor is a known professional, structure or representative", f"{path}.reference")
    if len(found) > MOST_ACTORS:
        raise refused(f"an actor stands for more than {MOST_ACTORS} names", f"{path}.reference")
    return found


def _require_plain(identifier: Mapping[str, Any], path: str) -> None:
    """Refuse an identifier that looks like another one and is compared as if it were somebody else's."""
    value = identifier.get("value", "")
    if value != unicodedata.normalize("NFKC", value).strip() or not value.isprintable():
        raise refused("an identifier has no blanks around it and no characters but the usual ones", f"{path}.value")
    if is_misspelt(identifier.get("system", "")):
        raise refused("this is not how the system of national numbers is written", f"{path}.system")


def named_by(reference: Mapping[str, Any], registry: Registry) -> Actors:
    """Return whom a reference names, by the names that subjects have; nobody for what cannot be told.

    Of a Practitioner they are the national numbers too, for an account need not be tied to that very resource.
    """
    identifier = reference.get("identifier") or {}
    if "reference" not in reference:
        return ((f"{identifier['system']}|{identifier['value']}",),) if {"system", "value"} <= identifier.keys() else ()
    ref = local(reference["reference"], registry.base_url)
    return _resolved(ref, registry) if ref else ()


def _resolved(ref: Ref, registry: Registry) -> Actors:
    if ref.type in ("RelatedPerson", "Patient"):
        return ((str(ref),),)
    told = registry.others(ref) if ref.type in DIRECTORY and not registry.again else None
    if told is not None and (ref.type != "Practitioner" or _national(told)):
        raise refused(f"{ref} was not written by who keeps the directory: name them by their number", str(ref))
    if ref.type == "Practitioner":
        national = _national(registry.find(ref))
        return (
            ((str(ref),), *((each,) for each in national)) if len(set(filter(None, map(rpps, national)))) < _TWO else ()
        )
    tree = registry.find(ref) if ref.type in ("Organization", "PractitionerRole", "Group") else None
    if tree is None:
        return ()
    if ref.type == "Organization":
        names = [f"{each['system']}|{each['value']}" for each in tree.get("identifier") or () if _whole(each)]
        return tuple((name,) for name in (str(ref), *names))
    return _role(tree, registry) if ref.type == "PractitionerRole" else _members(tree, registry)


def _role(tree: Mapping[str, Any], registry: Registry) -> Actors:
    """Return the person in the structure; nobody for a role that ends, for a name holds or does not."""
    if tree.get("active") is False or "end" in (tree.get("period") or {}):
        return ()
    people = _named_as(tree.get("practitioner") or {}, "Practitioner", registry)
    places = _named_as(tree["organization"], "Organization", registry) if "organization" in tree else ((),)
    if len(people) * len(places) > MOST_ACTORS:
        raise refused(f"a role stands for more than {MOST_ACTORS} names", "PractitionerRole")
    return tuple((*person, *place) for person in people for place in places)


def _members(tree: Mapping[str, Any], registry: Registry) -> Actors:
    """Return the professionals of a group that lists them; nobody for one of others, or one whose members come and go by themselves."""
    members = [each for each in tree.get("member") or () if not each.get("inactive")]
    if (
        tree.get("type") != "practitioner"
        or not tree.get("actual")
        or tree.get("active") is False
        or "characteristic" in tree
        or len(members) > MOST_ACTORS
        or any("period" in each for each in members)
    ):
        return ()
    return tuple(each for member in members for each in _member(member.get("entity") or {}, registry))


def _member(reference: Mapping[str, Any], registry: Registry) -> Actors:
    ref = local(reference.get("reference") or "", registry.base_url)
    return named_by(reference, registry) if ref is None or ref.type in ("Practitioner", "PractitionerRole") else ()


def _named_as(reference: Mapping[str, Any], kind: str, registry: Registry) -> Actors:
    """Return whom a reference names where only one type can be meant."""
    ref = local(reference.get("reference") or "", registry.base_url)
    return named_by(reference, registry) if ref is None or ref.type == kind else ()


def _national(tree: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the numbers of the whole country that a Practitioner has."""
    numbers = (f"{each['system']}|{each['value']}" for each in (tree or {}).get("identifier") or () if _whole(each))
    return tuple(each for each in dict.fromkeys(numbers) if is_national(each))


def _whole(identifier: Mapping[str, Any]) -> bool:
    return bool(identifier.get("system") and identifier.get("value"))


def _coded(item: Mapping[str, Any], path: str) -> str:
    if not item.get("system") or not item.get("code"):
        raise refused("a code needs its system", path)
    code = f"{item['system']}|{item['code']}"
    if len(code) > LONGEST:
        raise refused(f"a code with its system is longer than {LONGEST} characters", path)
    return code


def period_of(tree: Mapping[str, Any], zone: tzinfo, path: str) -> Period:
    """Return a FHIR Period by the days of the ``zone``; what its end names is within it. https://hl7.org/fhir/R4/datatypes.html#Period."""
    try:
        start = days(tree["start"], zone)[0] if "start" in tree else None
        end = days(tree["end"], zone)[1] if "end" in tree else None
    except ValueError as fault:
        raise refused(str(fault), path) from None
    period = Period(start, end)
    if period.is_empty:
        raise refused("a period ends after it starts", path)
    return period


def refused(why: str, path: str) -> Unprocessable:
    """Return the refusal of a Consent, with what in it is the reason."""
    return Unprocessable(f"This Consent cannot be enforced as it stands: {why}.", expression=path)


def consent_rules(
    entry: Entry, names: frozenset[str], purpose: str, now: datetime, *, named_only: bool = False
) -> Iterator[Rule]:
    """Yield the rules that a Consent makes for who has these names and asks for this purpose (``system|code``).

    ``named_only`` leaves out what concerns everybody: it is not meant for those to whom a record opens by name alone.
    """
    root = entry.provision
    if root is None:
        return
    told = [(place, each) for place, each in enumerate(root.exceptions, start=1)]
    met = [(place, each) for place, each in told if _applies(each, names, purpose, now, named_only=named_only)]
    whole = _applies(root, names, purpose, now, named_only=named_only)
    aside = [_about_data(each) for _, each in met if each.permit is not root.permit]
    reason = f"{entry.name}, provision"
    if whole:
        where = both(_about_data(root), *(Not(query) for query in aside))
        yield Rule(root.permit, where, reason, record=root.permit or where == And(()))
    if root.permit:
        for place, each in met:
            if each.permit:
                where = both(_about_data(each), *(Not(query) for query in aside))
                yield Rule(permit=True, where=where, reason=f"{reason} {place}", record=True)


def untold_rules(
    entry: Entry, names: frozenset[str], purpose: str, now: datetime, *, named_only: bool = False
) -> Iterator[Rule]:
    """Yield the refusal of a Consent to those from whom it withholds something, and of one that names items to whom it opens none.

    It would tell that they are there: to those from whom it hides them, and to those from whom a label or another Consent does. That it does not
    hold yet or any more changes nothing of that, and nobody is told of one that said something else of rows once (``untold``).
    """
    told = _provisions(entry)
    if not told:
        return
    met = [each for each in told if _applies(each, names, purpose, now, named_only=named_only)]
    at_any_time = [each for each in told if _applies(each, names, purpose, None, named_only=named_only)]
    withholds = any(not each.permit and each.data != Data() for each in at_any_time)
    names_items = any(each.data.instances for each in told)
    if entry.untold or withholds or (names_items and not any(each.permit and each.data.instances for each in met)):
        yield Rule(permit=False, where=_themselves((entry.source,)), reason=f"{entry.name}: it tells what it withholds")


def ended_rules(entries: Iterable[Entry]) -> Iterator[Rule]:
    """Yield the refusal, one for all, of the Consents that spoke of single rows once (``untold``) and say nothing any more.

    A record remembers each of them for good.
    """
    ended = tuple(entry.source for entry in entries if entry.untold and entry.provision is None)
    if ended:
        yield Rule(permit=False, where=_themselves(ended), reason="Consents that ended: they tell what they withheld")


@lru_cache(maxsize=1024)
def _themselves(sources: tuple[str, ...]) -> Query:
    """Return the query for Consents and their versions; searches of other types have nothing of it to ask."""
    return both(Eq("ty", "Consent"), Or((In("_id", sources), *(prefix("_id", f"{source}/") for source in sources))))


def _provisions(entry: Entry) -> tuple[Provision, ...]:
    return (entry.provision, *entry.provision.exceptions) if entry.provision else ()


def said_other(known: Entry | None, made: Entry | None) -> bool:
    """Tell whether a Consent is ``untold`` from now on: before it spoke of single rows, and said other than it does now."""
    if (known is not None and known.untold) or (made is not None and made.untold):
        return True
    before, now = (_spoken(each) for each in (known, made))
    return any(data != Data() for _, _, data in before) and any(each not in now for each in before)


def _spoken(entry: Entry | None) -> list[tuple[Actors, bool, Data]]:
    """Return what a Consent says of whom and of what, whenever it holds."""
    return [(each.actors, each.permit, each.data) for each in _provisions(entry)] if entry else []


def speaks_of_rows(tree: Mapping[str, Any]) -> bool:
    """Tell whether a Consent, in force or not, speaks of single rows of the record."""
    return any(name in each for each in _nested(tree.get("provision") or {}) for name in _OF_ROWS)


def _nested(provision: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield provision
    for each in provision.get("provision") or ():
        yield from _nested(each)


def _applies(
    provision: Provision, names: frozenset[str], purpose: str, now: datetime | None, *, named_only: bool
) -> bool:
    """Tell whether a provision is about who has these names and asks for the purpose, at the moment or (None) at any."""
    if now is not None and not provision.period.holds(micros_of(now)):
        return False
    if provision.purposes and purpose not in provision.purposes:
        return False
    return meets(provision.actors, names) if provision.actors else not named_only


def meets(actors: Actors, names: frozenset[str]) -> bool:
    """Tell whether one of the alternatives is all among the names."""
    return any(names.issuperset(actor) for actor in actors)


def _about_data(provision: Provision) -> Query:
    """Return the query for the rows that a provision is about."""
    data = provision.data
    parts: list[Query] = []
    if data.named:
        parts.append(either(list(_named(data))))
    if data.labels:
        parts.append(_labelled(data.labels))
    if data.period is not None:
        parts.append(_dated(data.period, begun=provision.permit))
    return both(*parts) if parts else And(())


def _named(data: Data) -> Iterator[Query]:
    for instance in data.instances:
        yield Eq("_id", instance)
        yield prefix("_id", f"{instance}/")  # its superseded versions
    if data.tokens:
        yield In("t", data.tokens)
    if data.authors:
        yield In("au", data.authors)


def _labelled(labels: Sequence[str]) -> Query:
    """Return the query for rows with one of the labels; a row without any level of confidentiality is normal."""
    found: Query = In("sec", tuple(labels))
    return Or((found, Not(prefix("sec", f"{CONFIDENTIALITY}|")))) if _NORMAL in labels else found


def _dated(period: Period, *, begun: bool) -> Query:
    """Return the query for what was in the period: by its main date, or by its deposit if it has none.

    What opens, opens what has ``begun`` in it; what withholds, withholds whatever has some time in common with it.
    """
    low, high = period.start, period.end
    first, last = (None if end is None else moment(end) for end in (low, high))
    deposited = Between("co", first, last)
    within: list[Query] = [Between("ds", low, high), And((Not(Between("ds")), deposited))]
    if low is not None and not begun:
        within.append(And((Between("ds", None, low), Lasts(low))))
    return Or(tuple(within))
