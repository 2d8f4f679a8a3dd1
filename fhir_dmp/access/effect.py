"""Whether a Consent has the effect here that it says it has. https://profiles.ihe.net/ITI/PCF/volume-1.html.

What ``consents`` compiles means what the standard says; here stands who is ever judged by it. A permission that nobody could
use, a denial that would stop nobody: such a Consent is refused, for whoever reads it would trust in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from fhir_dmp.access.datatypes import refused
from fhir_dmp.access.people import ACT_REASON, ENTERING, REPRESENTING
from fhir_dmp.access.policy import Provision
from fhir_dmp.fhir.ins import INS_SYSTEMS
from fhir_dmp.fhir.labels import HIDDEN_FROM_HOLDER, HIDDEN_FROM_REPRESENTATIVES, MASKED

_PATH = "Consent.provision"
_REPRESENTATIVE = "RelatedPerson/"
_HIDDEN = {
    False: {MASKED: "what is masked opens to its author and to the attending doctor alone"},
    True: {
        HIDDEN_FROM_REPRESENTATIVES: "what is hidden from representatives opens to none of them",
        HIDDEN_FROM_HOLDER: "what waits for its announcement opens to no representative",
    },
}
"""Labels that no permission lifts, and why: for professionals, and for representatives."""


def require_effect(root: Provision) -> None:
    """Raise ``Unprocessable`` for a Consent that would do less here than it says, with what in it does nothing."""
    for path, provision in _told(root):
        for actor in provision.actors:
            _require_judged(actor, path)
        _require_purposes(provision, path, every=root.permit)
        if provision.permit and root.permit:
            _require_lifted(provision, path)


def _told(root: Provision) -> Iterator[tuple[str, Provision]]:
    yield _PATH, root
    yield from ((f"{_PATH}.provision[{place}]", each) for place, each in enumerate(root.exceptions))


def _require_judged(actor: tuple[str, ...], path: str) -> None:
    if any(name.startswith("Patient/") or name.partition("|")[0] in INS_SYSTEMS for name in actor):
        raise refused("no patient is judged by it: holders enter by right, others as a RelatedPerson", f"{path}.actor")


def _require_purposes(provision: Provision, path: str, *, every: bool) -> None:
    """Refuse purposes that nobody whom the provision names may ask for; a denial may name such beside one that counts."""
    kinds = {_represents(actor) for actor in provision.actors} or {False}
    if not provision.purposes:
        return
    asked = {kind: [each for each in provision.purposes if each in _PURPOSES[kind]] for kind in kinds}
    if not all(asked.values()):
        who = "a representative" if not asked.get(True, True) else "who enters to treat"
        raise refused(f"no purpose of it is one that {who} asks for here", f"{path}.purpose")
    idle = [each for each in provision.purposes if not any(each in found for found in asked.values())]
    if every and idle:
        raise refused(f"nobody whom it names asks for {idle[0].rpartition('|')[2]!r} here", f"{path}.purpose")


_PURPOSES = {
    False: tuple(f"{ACT_REASON}|{code}" for code in ENTERING),
    True: tuple(f"{ACT_REASON}|{code}" for code in REPRESENTING),
}
"""What tokens are issued for: to professionals and structures, and to representatives."""


def _represents(actor: tuple[str, ...]) -> bool:
    return any(name.startswith(_REPRESENTATIVE) for name in actor)


def _require_lifted(provision: Provision, path: str) -> None:
    for kind in {_represents(actor) for actor in provision.actors} or {False}:
        why = next((why for label, why in _HIDDEN[kind].items() if label in provision.data.labels), None)
        if why is not None:
            raise refused(why, f"{path}.securityLabel")
