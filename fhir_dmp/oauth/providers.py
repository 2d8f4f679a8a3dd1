"""OpenID providers, as an operator describes them in a file: whom we ask who somebody is, and where in the answer it stands.

A claim is named by a path: names joined by dots, ``[]`` after the name of a list to go through all of it:
``SubjectRefPro.exercices[].codeProfession``. https://openid.net/specs/openid-connect-core-1_0.html#Claims.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey
from msgspec import Struct

from fhir_dmp.errors import Invalid
from fhir_dmp.oauth.jwks import JwksError, require_secure_url
from fhir_dmp.oauth.people import MOST_SITUATIONS, PROFESSIONS, require_situation, traits_digest
from fhir_dmp.store.accounts import AccountKind, Situation

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""What a provider may sign by: never ``none``, never a secret that both sides know."""

MATCHES = ("identifier", "traits")
TRAITS = ("family", "given", "birth_date", "sex", "birth_place")
MOST_VALUES = 200
_NAME = re.compile(r"[a-z0-9\-]{1,32}\Z")
_FIELDS = frozenset(
    """
    name label kind issuer client_id client_secret_file private_key_file scopes acr_values algorithms claims match open
    strong
    """.split()
)


class Provider(Struct, frozen=True):
    """One OpenID provider.

    ``secret`` or ``key`` proves us to it. ``acr_values`` are asked for, and one of them must come back (none: no level is asked).
    ``claims`` says where things stand (see the README). ``match`` is how a person who was not linked before is found among the
    accounts; ``opens`` whether a professional who is not found gets an account: alone it reaches nobody's record. ``strong`` says that
    it knows people by two factors or as much: a professional of one that does not may feed records, and consults none.
    """

    name: str
    label: str
    kind: AccountKind
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    claims: Mapping[str, Any]
    secret: str | None = None
    key: ECKey | RSAKey | None = None
    acr_values: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ALGORITHMS
    match: tuple[str, ...] = ()
    opens: bool = False
    strong: bool = True


class Identity(Struct, frozen=True):
    """Who a provider says somebody is.

    ``identifier`` is the national one (``system|value``), ``traits`` the digest of the five traits, where the provider tells them.
    """

    subject: str
    name: str
    identifier: str | None = None
    traits: str | None = None
    birth_date: str | None = None
    situations: tuple[Situation, ...] = ()


def read_providers(path: Path) -> tuple[Provider, ...]:
    """Return the providers that the file describes; files it names are beside it.

    Raises ``ValueError`` saying which provider cannot be used, and why.
    """
    try:
        listed = json.loads(path.read_text())
    except (OSError, ValueError) as fault:
        raise ValueError(f"{path} cannot be read as JSON: {fault}") from None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ValueError(f"{path} is to hold a list of providers.")
    providers = tuple(_provider(each, path.parent) for each in listed)
    if len({each.name for each in providers}) != len(providers):
        raise ValueError(f"{path} names a provider twice.")
    return providers


def identify(provider: Provider, claims: Mapping[str, Any]) -> Identity:
    """Return who the claims say somebody is; raise ``Invalid`` if they do not say what the provider was to tell."""
    mapping = provider.claims
    identifier = mapping.get("identifier")
    value = first(claims, identifier["path"]) if identifier else None
    traits = {name: first(claims, mapping["traits"][name]) for name in TRAITS} if "traits" in mapping else {}
    name = " ".join(filter(None, (first(claims, path) for path in mapping.get("name", ("name",)))))
    situations = _situations(claims, mapping["situations"]) if "situations" in mapping else ()
    if not claims.get("sub"):
        raise Invalid("The provider names no subject.")
    return Identity(
        subject=str(claims["sub"])[:255],
        name=name[:200] or "—",
        identifier=f"{identifier['system']}|{value}" if identifier and value else None,
        traits=traits_digest(**{name: str(text) for name, text in traits.items()})
        if traits and all(traits.values())
        else None,
        birth_date=traits.get("birth_date"),
        situations=situations,
    )


def values(tree: Any, path: str) -> list[Any]:
    """Return what stands at the path, in order; nothing where it does not lead."""
    found = [tree]
    for step in path.split("."):
        name = step.removesuffix("[]")
        found = [each[name] for each in found if isinstance(each, dict) and each.get(name) is not None]
        if step.endswith("[]"):
            found = [item for each in found if isinstance(each, list) for item in each][:MOST_VALUES]
    return found


def first(tree: Any, path: str) -> str | None:
    """Return the first text at the path that is not empty."""
    return next((each for each in values(tree, path) if isinstance(each, str) and each), None)


def _situations(claims: Mapping[str, Any], mapping: Mapping[str, Any]) -> tuple[Situation, ...]:
    """Return the situations of exercise: each place of each profession that is one of health, once."""
    found: dict[Situation, None] = {}
    for exercise in values(claims, mapping["each"]):
        profession = first(exercise, mapping["profession"])
        if profession not in PROFESSIONS:
            continue
        specialty = first(exercise, mapping["specialty"]) if "specialty" in mapping else None
        places = values(exercise, mapping["where"]) if "where" in mapping else []
        for place in places or [{}]:
            found[_situation(str(profession), specialty, place, mapping)] = None
    return tuple(found)[:MOST_SITUATIONS]


def _situation(profession: str, specialty: str | None, place: Any, mapping: Mapping[str, Any]) -> Situation:
    organization, label = mapping.get("organization"), mapping.get("label")
    value = first(place, organization["path"]) if organization else None
    situation = Situation(
        profession=profession,
        specialty=specialty,
        organization=f"{organization['system']}|{value}" if organization and value else None,
        label=(first(place, label) or "")[:200] if label else "",
    )
    require_situation(situation)
    return situation


def _provider(given: Mapping[str, Any], folder: Path) -> Provider:
    name = str(given.get("name", ""))

    def wrong(why: str) -> ValueError:
        return ValueError(f"The OpenID provider {name[:32]!r} cannot be used: {why}")

    if not _NAME.match(name):
        raise wrong("a name is made of small letters, digits and hyphens.")
    if unknown := given.keys() - _FIELDS:
        raise wrong(f"there is no {', '.join(sorted(unknown))}.")
    for field in ("label", "kind", "issuer", "client_id", "scopes", "claims"):
        if not given.get(field):
            raise wrong(f"{field} is missing.")
    try:
        require_secure_url(given["issuer"])
        return _checked(given, name, folder)
    except (JwksError, JoseError, OSError, KeyError, TypeError, ValueError) as fault:
        raise wrong(str(fault)) from None


def _checked(given: Mapping[str, Any], name: str, folder: Path) -> Provider:
    kind, match, algorithms = given["kind"], tuple(given.get("match", ())), tuple(given.get("algorithms", ALGORITHMS))
    claims = given["claims"]
    if kind not in ("patient", "professional"):
        raise ValueError("kind is patient or professional.")
    if not set(match) <= set(MATCHES) or not all(each in claims for each in match):
        raise ValueError(f"match holds what claims tell, of {', '.join(MATCHES)}.")
    if not algorithms or not set(algorithms) <= set(ALGORITHMS):
        raise ValueError(f"algorithms are some of {', '.join(ALGORITHMS)}.")
    if kind == "professional" and not {"identifier", "situations"} <= claims.keys():
        raise ValueError("claims of professionals have identifier and situations.")
    if given.get("open") and kind != "professional":
        raise ValueError("accounts of patients are never opened by a sign-in.")
    if "traits" in claims and set(claims["traits"]) != set(TRAITS):
        raise ValueError(f"traits are {', '.join(TRAITS)}.")
    if ("client_secret_file" in given) == ("private_key_file" in given):
        raise ValueError("one of client_secret_file and private_key_file proves us.")
    return Provider(
        name=name,
        label=given["label"],
        kind=kind,
        issuer=given["issuer"],
        client_id=given["client_id"],
        scopes=tuple(dict.fromkeys(("openid", *given["scopes"]))),
        claims=claims,
        secret=(folder / given["client_secret_file"]).read_text().strip() if "client_secret_file" in given else None,
        key=_key((folder / given["private_key_file"]).read_text()) if "private_key_file" in given else None,
        acr_values=tuple(given.get("acr_values", ())),
        algorithms=algorithms,
        match=match,
        opens=bool(given.get("open")),
        strong=bool(given.get("strong", given.get("acr_values"))),
    )


def _key(text: str) -> ECKey | RSAKey:
    """Return the private key of a JWK."""
    key = JWKRegistry.import_key(json.loads(text))
    if not isinstance(key, ECKey | RSAKey) or not key.is_private:
        raise ValueError("private_key_file holds no private RSA or EC key as a JWK.")
    return key
