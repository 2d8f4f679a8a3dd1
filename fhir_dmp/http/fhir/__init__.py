"""The FHIR endpoint."""
