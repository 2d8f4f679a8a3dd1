"""FHIR capabilities: what this server does. https://hl7.org/fhir/R4/http.html#capabilities.

It is printed from the tables that serve: the search parameters of the definitions, the interactions that the door knows, the
limits of the settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from fhir_dmp import __version__
from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.definitions.model import Definitions, OperationDef, SearchParam
from fhir_dmp.fhir import codec
from fhir_dmp.settings import Limits

_TYPE_INTERACTIONS = (
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
)
_SYSTEM_INTERACTIONS = ("transaction", "batch", "search-system", "history-system")
_OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SECURITY = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_FORMATS = ("application/fhir+json", "application/fhir+xml", "json", "xml")


class Served(Struct, frozen=True):
    """What serves, as the statement tells it.

    ``interactions`` are the names that the door knows, for a type that has its own table (``AuditEvent``) and for all others
    (``""``); ``own_params`` are the search parameters of the types that have their own table; ``operations`` are the codes that
    somebody does.
    """

    definitions: Definitions
    limits: Limits
    interactions: Mapping[str, Collection[str]]
    own_params: Mapping[str, Collection[str]]
    operations: Collection[str] = ()

    def interactions_of(self, resource_type: str) -> Collection[str]:
        """Return the names for a type."""
        return self.interactions.get(resource_type, self.interactions[""])

    def operations_of(self, resource_type: str | None) -> list[OperationDef]:
        """Return the operations of a type, or those of the server."""
        return [
            each
            for each in self.definitions.operations
            if each.code in self.operations
            and ("system" in each.levels if resource_type is None else _below_system(each, resource_type))
        ]

    def params_of(self, resource_type: str) -> list[SearchParam]:
        """Return the search parameters of a type, by code."""
        params = self.definitions.search_params[resource_type]
        codes = self.own_params.get(resource_type, params)
        return [params[code] for code in sorted(codes) if code in params]


def _below_system(operation: OperationDef, resource_type: str) -> bool:
    return bool(operation.levels - {"system"}) and operation.is_for(resource_type)


def capabilities(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the statement to a bundle that asks for it among other things; by itself it is told to anybody."""
    del call, context, grant
    return Result("ok", env.statement())


def capability_statement(served: Served, public_url: str, started: str) -> bytes:
    """Return the CapabilityStatement; ``started`` is its date."""
    base = public_url.rstrip("/")
    statement: dict[str, Any] = {
        "resourceType": "CapabilityStatement",
        "id": "fhir-dmp",
        "url": f"{base}/fhir/metadata",
        "version": __version__,
        "name": "FhirDmp",
        "title": "fhir_dmp",
        "status": "active",
        "date": started,
        "publisher": "fhir_dmp",
        "description": _description(served),
        "kind": "instance",
        "software": {"name": "fhir_dmp", "version": __version__},
        "implementation": {"description": "Shared medical record", "url": f"{base}/fhir"},
        "fhirVersion": served.definitions.version,
        "format": list(_FORMATS),
        "patchFormat": ["application/json-patch+json", "application/fhir+json", "application/fhir+xml"],
        "rest": [
            {
                "mode": "server",
                "documentation": "Only this statement, the SMART configuration and the keys are told without a token.",
                "security": _security(base),
                "resource": [_resource(served, name) for name in served.definitions.resource_types],
                "interaction": _codes(_SYSTEM_INTERACTIONS, served.interactions[""]),
                "compartment": [
                    f"http://hl7.org/fhir/CompartmentDefinition/{code[:1].lower()}{code[1:]}"
                    for code in sorted(served.definitions.compartments)
                ],
                "searchParam": [{"name": name, "type": "special"} for name in ("_has", "_list", "_filter")],
            }
        ],
    }
    rest = statement["rest"][0]
    rest.update(_operations(served.operations_of(None)))
    return codec.dumps(statement)


def _description(served: Served) -> str:
    limits = served.limits
    left_out = ", ".join(f"{each.type}.{each.code} ({each.reason})" for each in served.definitions.unsupported)
    return (
        f"Shared medical record. A body has at most {limits.body} bytes, a bundle {limits.bundle_entries} entries, a page "
        f"{limits.page} rows. Search parameters that are not supported: {left_out or 'none'}."
    )


def _security(base: str) -> dict[str, Any]:
    endpoints = {name: f"{base}/oauth/{name}" for name in ("authorize", "token", "introspect", "revoke")}
    return {
        "extension": [
            {
                "url": _OAUTH_URIS,
                "extension": [{"url": name, "valueUri": url} for name, url in endpoints.items()],
            }
        ],
        "cors": True,
        "service": [{"coding": [{"system": _SECURITY, "code": "SMART-on-FHIR"}], "text": "SMART Backend Services"}],
        "description": "OAuth 2.0 client credentials with private_key_jwt; every act and every refusal is audited.",
    }


def _resource(served: Served, name: str) -> dict[str, Any]:
    known = served.interactions_of(name)
    described: dict[str, Any] = {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": _codes(_TYPE_INTERACTIONS, known),
    }
    params = served.params_of(name)
    if "update" in known:
        described.update(_versions())
        described["searchInclude"] = ["*", *(f"{name}:{param.code}" for param in params if param.type == "reference")]
        described["searchRevInclude"] = _pointing_at(served, name)
    else:
        described["versioning"] = "no-version"
    described["searchParam"] = [
        {"name": param.code, "definition": param.url, "type": param.type} for param in params if param.url
    ]
    described.update(_operations(served.operations_of(name)))
    return {key: value for key, value in described.items() if value != []}


def _operations(operations: Collection[OperationDef]) -> dict[str, Any]:
    return {"operation": [{"name": each.code, "definition": each.url} for each in operations]} if operations else {}


def _versions() -> dict[str, Any]:
    return {
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "referencePolicy": ["literal", "logical", "local"],
    }


def _pointing_at(served: Served, name: str) -> list[str]:
    return [
        f"{source}:{param.code}"
        for source in served.definitions.resource_types
        if "update" in served.interactions_of(source)
        for param in served.params_of(source)
        if param.type == "reference" and name in param.targets
    ]


def _codes(names: Collection[str], known: Collection[str]) -> list[dict[str, str]]:
    return [{"code": name} for name in names if name in known]
