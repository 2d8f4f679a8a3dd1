"""What each error is to the log."""

from __future__ import annotations

import pytest

from fhir_dmp import errors
from fhir_dmp.errors import FhirError

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, FhirError)]
REFUSALS = (401, 403, 429)


@pytest.mark.parametrize("error", ALL, ids=lambda each: each.__name__)
def test_the_outcome_of_an_error_is_what_the_code_system_says_of_its_status(error):
    """4 is like a 400, 8 like a 500, 12 is a system that is no longer available; a refusal is 8, as a Consent's denial is."""
    expected = {500: "8", 503: "12"}.get(error.status, "8" if error.status in REFUSALS else "4")

    assert error.audit_outcome == expected
