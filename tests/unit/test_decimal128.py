"""Decimals reach the database with the digits they have."""

from __future__ import annotations

from decimal import Decimal

from bson.decimal128 import Decimal128
from hypothesis import example, given
from hypothesis import strategies as st

from fhir_dmp.stores.mongo.compile import decimal128

DECIMALS = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=34),
    st.integers(-6176, 6077),
)


@given(DECIMALS)
@example(Decimal("36.70"))
@example(Decimal("-0.0"))
@example(Decimal("9E+6000"))
def test_a_decimal_is_encoded_as_the_driver_does_it(value):
    """The quick encoding and the driver's agree bit for bit."""
    assert decimal128(value).bid == Decimal128(value).bid
