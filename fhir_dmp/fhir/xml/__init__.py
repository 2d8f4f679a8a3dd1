"""The XML of FHIR, in and out, by the tables of the definitions. https://hl7.org/fhir/R4/xml.html.

Between the two forms nothing is lost: decimals keep their digits, narratives their text as it was written. A document type is refused
where it begins, so no entity is ever declared, expanded or fetched; depth is bounded.
"""

from fhir_dmp.fhir.xml.reader import DEEPEST, read
from fhir_dmp.fhir.xml.tables import XHTML, Tables
from fhir_dmp.fhir.xml.writer import write

__all__ = ["DEEPEST", "XHTML", "Tables", "read", "write"]
