"""The policies that one attempt rests on: each is read once, or presumed to be what it lately was, and held by the commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fhir_dmp.access.policy import Policy, decode
from fhir_dmp.call import Env
from fhir_dmp.errors import Stale
from fhir_dmp.store.grants import PolicyRow


class KnownPolicies:
    """What opens the records in question; ``known`` are policies that were read after the request began.

    A system that writes ``presumes`` policies to be what they lately were: its commit holds their ``versions``. No refusal rests on
    what is presumed, and nothing that is told without a commit (``confirm``).
    """

    def __init__(self, known: Mapping[str, PolicyRow | None], env: Env, *, presumes: bool = False) -> None:
        self._env = env
        self._known = dict(known)
        self._presumes = presumes
        self._presumed: set[str] = set()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, patients: Iterable[str]) -> None:
        """Read the policies of these records, unless they are known."""
        unknown = [patient for patient in dict.fromkeys(patients) if patient not in self._known]
        if self._presumes:
            recent = self._env.recent
            lately = {patient: recent.find(patient) for patient in unknown if recent.known(patient)}
            self._presume(lately)
            unknown = [patient for patient in unknown if patient not in lately]
        if unknown:
            self._known.update(self._read(unknown))

    def presume_none(self, patients: Iterable[str]) -> None:
        """Presume that nobody has opened or shut records that are made only now."""
        if self._presumes:
            self._presume({patient: None for patient in patients if patient not in self._known})

    def confirm(self) -> bool:
        """Read what was presumed, and tell whether anything was; raise ``Stale`` if it is not so any more."""
        if not self._presumed:
            return False
        if any(row != self._known[patient] for patient, row in self._read(self._presumed).items()):
            raise Stale
        self._presumed.clear()
        return True

    def policy(self, patient: str) -> tuple[Policy, int]:
        """Return what opens a record now, and its version (0: nothing was ever said)."""
        self.learn((patient,))
        row = self._known[patient]
        if row is not None and patient in self._presumed:
            self.confirm()
        return (decode(row.body), row.version) if row else (Policy(patient), 0)

    def all(self) -> Mapping[str, Policy]:
        """Return the policies of all records that have one, of those that are known."""
        return {patient: decode(row.body) for patient, row in self._known.items() if row}

    @property
    def versions(self) -> Mapping[str, int]:
        """The versions of the policies that the decisions rest on."""
        return {patient: row.version if row else 0 for patient, row in self._known.items()}

    def _presume(self, policies: Mapping[str, PolicyRow | None]) -> None:
        self._known.update(policies)
        self._presumed.update(policies)

    def _read(self, patients: Collection[str]) -> Mapping[str, PolicyRow | None]:
        found = self._env.store.find_policies(tuple(patients))
        rows = {patient: found.get(patient) for patient in patients}
        self._env.recent.note(rows)
        return rows
