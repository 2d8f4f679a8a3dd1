"""Launch tokens: an EHR tells which record an app is opened in. https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#launch-app-ehr-launch.

A launch token opens nothing: it names a record, and the person who uses it needs their own rights to that record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from fhir_dmp.oauth.errors import InvalidRequest
from fhir_dmp.oauth.handles import Handles
from fhir_dmp.oauth.lifetimes import LAUNCH_SECONDS

_ID = r"[A-Za-z0-9\-.]{1,64}"
INTENT_LENGTH = 100


class Launch(Struct, frozen=True):
    """The context of one launch; ``told`` is what the token answer repeats of it. ``expires`` in seconds since 1970."""

    id: str
    app: str
    expires: int
    patient: str | None = None
    encounter: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def make_launch(launches: Handles, form: Mapping[str, str], launch_id: str, now: int) -> str:
    """Return the launch token that the form of an EHR describes; raise ``InvalidRequest`` for what is malformed."""
    content = {
        "id": launch_id,
        "app": _required(form, "app"),
        "until": now + LAUNCH_SECONDS,
        "patient": _reference(form, "Patient", "patient"),
        "encounter": _reference(form, "Encounter", "encounter"),
        "told": _told(form),
    }
    return launches.make(**content)


def named_patients(form: Mapping[str, str]) -> tuple[str, ...]:
    """Return the record (``Patient/p``) that the form names, if it is written as one."""
    try:
        patient = _reference(form, "Patient", "patient")
    except InvalidRequest:
        return ()
    return (patient,) if patient else ()


def read_launch(launches: Handles, raw: str, app: str, now: int) -> Launch:
    """Return the launch of a token; raise ``InvalidRequest`` if it is another app's, has expired, or is none."""
    content = launches.open(raw)
    if content is None or content["app"] != app or content["until"] <= now:
        raise InvalidRequest("launch is no launch token of this server for this client, or it has expired.")
    return Launch(
        content["id"], content["app"], content["until"], content["patient"], content["encounter"], content["told"]
    )


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if value is None:
        raise InvalidRequest(f"{name} is missing.")
    return value


def _reference(form: Mapping[str, str], resource_type: str, name: str) -> str | None:
    value = form.get(name)
    if value is None:
        return None
    found = re.fullmatch(rf"(?:{resource_type}/)?({_ID})", value)
    if found is None:
        raise InvalidRequest(f"{name} is the id of a {resource_type}.")
    return f"{resource_type}/{found[1]}"


def _told(form: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if "intent" in form:
        if len(form["intent"]) > INTENT_LENGTH:
            raise InvalidRequest(f"intent has at most {INTENT_LENGTH} characters.")
        told["intent"] = form["intent"]
    if "need_patient_banner" in form:
        if form["need_patient_banner"] not in ("true", "false"):
            raise InvalidRequest("need_patient_banner is true or false.")
        told["need_patient_banner"] = form["need_patient_banner"] == "true"
    return told
