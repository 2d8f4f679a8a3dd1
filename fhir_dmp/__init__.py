"""FHIR R4 server for the French shared medical record."""
