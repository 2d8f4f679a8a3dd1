"""The definitions of FHIR R4 and of ``profiles/`` as data. https://hl7.org/fhir/R4/conformance-module.html."""
