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

NAMING = ("Practitioner", "PractitionerRole", "Organization", "Group")
"""Types that say by which numbers somebody is known, or who belongs to what. Anybody's system writes them, for it refers to them; a record
opens and shuts by those alone that who keeps the directory wrote (``kept`` in a row), a structure of itself, or that an account is tied to.
"""

IS_DIRECTORY = In("ty", DIRECTORY)
