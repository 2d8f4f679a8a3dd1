"""The doors: every FHIR call and every token passes here."""
