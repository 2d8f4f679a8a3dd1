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
