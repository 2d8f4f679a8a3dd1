"""FHIR capabilities: what this server does, printed from the tables that serve. https://hl7.org/fhir/R4/http.html#capabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_dmp import __version__
from fhir_dmp.definitions.model import Definitions
from fhir_dmp.fhir import codec
from fhir_dmp.settings import Limits

_TYPE_INTERACTIONS = ("read", "vread", "update", "delete", "history-instance", "history-type", "create", "search-type")
_AUDIT_INTERACTIONS = ("read", "create", "search-type")
_SYSTEM_INTERACTIONS = ("transaction", "batch", "history-system")
_OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SECURITY = "http://terminology.hl7.org/CodeSystem/restful-security-service"


def capability_statement(
    definitions: Definitions, public_url: str, limits: Limits, audit_params: Sequence[str], started: str
) -> bytes:
    """Return the CapabilityStatement; ``audit_params`` are what AuditEvents are searched by, ``started`` its date."""
    base = public_url.rstrip("/")
    statement = {
        "resourceType": "CapabilityStatement",
        "id": "fhir-dmp",
        "url": f"{base}/fhir/metadata",
        "name": "FhirDmp",
        "title": "fhir_dmp",
        "status": "active",
        "date": started,
        "publisher": "fhir_dmp",
        "description": _description(definitions, limits),
        "kind": "instance",
        "software": {"name": "fhir_dmp", "version": __version__},
        "implementation": {"description": "fhir_dmp", "url": f"{base}/fhir"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": _security(base),
                "resource": [_resource(definitions, name, audit_params) for name in definitions.resource_types],
                "interaction": [{"code": code} for code in _SYSTEM_INTERACTIONS],
            }
        ],
    }
    return codec.dumps(statement)


def _description(definitions: Definitions, limits: Limits) -> str:
    unsupported = ", ".join(sorted({each.code for each in definitions.unsupported}))
    return (
        f"Shared medical record. A body has at most {limits.body} bytes, a bundle {limits.bundle_entries} entries, "
        f"a page {limits.page} rows. Search parameters that are not supported: {unsupported or 'none'}."
    )


def _security(base: str) -> dict[str, Any]:
    return {
        "cors": False,
        "service": [{"coding": [{"system": _SECURITY, "code": "SMART-on-FHIR"}]}],
        "extension": [
            {
                "url": _OAUTH_URIS,
                "extension": [
                    {"url": "token", "valueUri": f"{base}/oauth/token"},
                    {"url": "revoke", "valueUri": f"{base}/oauth/revoke"},
                ],
            }
        ],
    }


def _resource(definitions: Definitions, name: str, audit_params: Sequence[str]) -> dict[str, Any]:
    if name == "AuditEvent":
        return {
            "type": name,
            "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
            "interaction": [{"code": code} for code in _AUDIT_INTERACTIONS],
            "versioning": "no-version",
            "searchParam": _params(definitions, name, audit_params),
        }
    codes = [code for code, param in definitions.search_params[name].items() if param.type != "special"]
    references = [code for code in codes if definitions.search_params[name][code].type == "reference"]
    described: dict[str, Any] = {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": [{"code": code} for code in _TYPE_INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "searchInclude": ["*", *(f"{name}:{code}" for code in references)],
        "searchParam": _params(definitions, name, codes),
    }
    return described


def _params(definitions: Definitions, name: str, codes: Sequence[str]) -> list[dict[str, Any]]:
    params = definitions.search_params[name]
    return [
        {"name": code, "definition": params[code].url, "type": params[code].type} for code in codes if code in params
    ]
