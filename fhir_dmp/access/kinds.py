"""Kinds of resource types, as rights see them. https://hl7.org/fhir/R4/compartmentdefinition-patient.html."""

from __future__ import annotations

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

RPPS = "https://rpps.esante.gouv.fr|"
NATIONAL = "urn:oid:1.2.250.1.71.4.2.1|"


def is_national(number: str) -> bool:
    """Tell whether ``system|value`` is a number that names one professional in the whole country."""
    return number.startswith((RPPS, NATIONAL))


IS_DIRECTORY = In("ty", DIRECTORY)
