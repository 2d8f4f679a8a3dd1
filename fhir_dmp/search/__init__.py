"""FHIR search: from a URL to a query, from a resource to its index. https://hl7.org/fhir/R4/search.html."""
