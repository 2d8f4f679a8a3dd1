"""Kinds of resource types, as rights see them. https://hl7.org/fhir/R4/compartmentdefinition-patient.html."""

from __future__ import annotations

import re

from fhir_dmp.store.query import In

DIRECTORY = (
    *("ActivityDefinition", "CapabilityStatement", "CodeSystem", "CompartmentDefinition", "ConceptMap"),
    *("DeviceDefinition", "Endpoint", "EventDefinition", "GraphDefinition", "HealthcareService", "ImplementationGuide"),
    *("Library", "Location", "Measure", "Medication", "MedicationKnowledge", "MessageDefinition", "NamingSystem"),
    *("ObservationDefinition", "OperationDefinition", "Organization", "OrganizationAffiliation", "PlanDefinition"),
    *("Practitioner", "PractitionerRole", "Questionnaire", "SearchParameter", "SpecimenDefinition"),
    *("StructureDefinition", "StructureMap", "Substance", "TerminologyCapabilities", "ValueSet"),
)
"""Types that are about nobody's health: who works where, what substances and terms there are. Open to whoever is known."""

NAMING = ("Practitioner", "PractitionerRole", "Organization", "Group")
"""Types that say by which numbers somebody is known, or who belongs to what. Anybody's system writes them, for it refers to them; a record
opens and shuts by those alone that who keeps the directory wrote (``kept`` in a row), a structure of itself, or that an account is tied to.
"""

RPPS = "https://rpps.esante.gouv.fr|"
NATIONAL = "urn:oid:1.2.250.1.71.4.2.1|"

_PLAIN = re.compile("^https?://")


def is_misspelt(system: str) -> bool:
    """Tell whether a system is one of national numbers but for its case, its scheme or a slash: nobody is known by such."""
    meant = _PLAIN.sub("", system.lower()).rstrip("/")
    return any(meant == _PLAIN.sub("", known[:-1]) and system != known[:-1] for known in (RPPS, NATIONAL))


def is_national(number: str) -> bool:
    """Tell whether ``system|value`` is a number that names one professional in the whole country."""
    return number.startswith((RPPS, NATIONAL))


def rpps(number: str) -> str | None:
    """Return the RPPS number that a national number (``system|value``) is, or holds after an 8; None for one of another register."""
    value = number.partition("|")[2]
    if number.startswith(RPPS):
        return value
    return value[1:] if number.startswith(f"{NATIONAL}8") else None


IS_DIRECTORY = In("ty", DIRECTORY)
