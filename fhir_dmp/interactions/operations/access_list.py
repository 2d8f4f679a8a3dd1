"""Patient/$access-list: who may enter the record, why, and until when; the list that the law gives the holder. L.1111-19."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_dmp.access.policy import Entry, Period
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Result
from fhir_dmp.clock import datetime_of, micros_of
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import write
from fhir_dmp.interactions.choices import asking

_Line = tuple[str, str, Any]
_Row = tuple[str, tuple[str, ...], Period, bool]


def access_list(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one parameter ``access`` for each choice, team member, doctor and representative that holds now or will."""
    _, policy = asking(call, context, grant, env, scope="search", closed=True)
    now = micros_of(context.now)
    lines: list[_Line] = [("closed", "boolean", policy.closing is not None)]
    for entry in policy.entries:
        for kind, names, period, permit in _rows(entry):
            if period.end is None or period.end > now:
                lines.append(("access", "part", _parts(entry, kind, names, period, permit=permit)))
    body = codec.dumps(write(lines))
    return Result("ok", body, entities=(Entity(call.ref, None, (str(call.ref),)),))


def _rows(entry: Entry) -> Iterator[_Row]:
    said = entry.provision
    if said is not None:
        names = tuple(" + ".join(actor) for actor in said.actors) or ("everybody",)
        purposes = ", ".join(each.rpartition("|")[2] for each in said.purposes)
        yield f"consent{f' for {purposes}' if purposes else ''}", names, said.period, said.permit
    for kind, members in (
        ("care team", entry.members),
        ("attending doctor", entry.doctors),
        ("representative", entry.representatives),
    ):
        for member in members:
            yield kind, tuple(" + ".join(actor) for actor in member.actors), member.period, True


def _parts(entry: Entry, kind: str, names: tuple[str, ...], period: Period, *, permit: bool) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"name": "kind", "valueString": kind}, {"name": "permit", "valueBoolean": permit}]
    parts += [{"name": "actor", "valueString": name} for name in names]
    parts.append({"name": "source", "valueReference": {"reference": entry.source}})
    for name, micros in (("from", period.start), ("until", period.end)):
        if micros is not None:
            parts.append({"name": name, "valueInstant": datetime_of(micros).isoformat()})
    return parts
