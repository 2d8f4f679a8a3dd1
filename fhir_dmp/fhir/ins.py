"""The national health identity (INS) and the systems of its numbers.

https://hl7.fr/ig/fhir/core/StructureDefinition-fr-core-patient-ins.html.
"""

from __future__ import annotations

INS_SYSTEMS = (
    "urn:oid:1.2.250.1.213.1.4.8",
    "urn:oid:1.2.250.1.213.1.4.9",
    "urn:oid:1.2.250.1.213.1.4.10",
    "urn:oid:1.2.250.1.213.1.4.11",
)
"""INS-NIR, INS-NIA, and those for tests and demonstrations."""

INS_LENGTH = 15


def is_ins(text: str) -> bool:
    """Tell whether a token of a search (``system|value``) is a whole INS."""
    system, _, number = text.partition("|")
    return system in INS_SYSTEMS and number != ""
