"""Page tokens: whose they are, where they go on, and when they end. https://hl7.org/fhir/R4/http.html#paging."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.errors import Invalid
from fhir_dmp.seal import Seal
from fhir_dmp.search.paging import Place, open_place, owner, seal_place

EVE = Person("holder", "account-1", "urn:ins|1", "Patient/eve", patient="Patient/eve", purpose="PATRQT")
SUBJECT = Subject("portal", "app", ("patient/*.rs",), person=EVE)
OTHERS = {
    "another client": replace(SUBJECT, client="other"),
    "another structure": replace(SUBJECT, organization="urn:x|1"),
    "other scopes": replace(SUBJECT, scopes=("patient/*.r",)),
    "another person": replace(SUBJECT, person=replace(EVE, account="account-2")),
    "another record": replace(SUBJECT, person=replace(EVE, patient="Patient/adam")),
    "another purpose": replace(SUBJECT, person=replace(EVE, purpose="FAMRQT")),
    "no person": replace(SUBJECT, person=None),
}
PLACE = Place(owner(SUBJECT), "Observation", (("code", "a"),), ("x", Decimal("36.70"), None, 5), "f" * 17, 5, 1000)
SEAL = Seal(b"0" * 32, "page")


def opened(token, **given):
    asked = {"owner": owner(SUBJECT), "path": "Observation", "now": 1000, **given}
    return open_place(token, SEAL.open, **asked)


@pytest.mark.parametrize("other", OTHERS)
def test_a_page_is_its_owners_alone(other):
    """Client, structure, scopes, person, record and purpose: whoever differs in one is another."""
    with pytest.raises(Invalid):
        opened(seal_place(PLACE, SEAL.seal), owner=owner(OTHERS[other]))


def test_a_place_comes_back_as_it_was_and_says_nothing():
    """Digits of keys as well; and the token is no text that anybody reads."""
    token = seal_place(PLACE, SEAL.seal)
    assert opened(token) == PLACE
    assert str(opened(token).keys[1]) == "36.70"
    assert "Observation" not in token


def test_a_page_ends_and_belongs_to_its_search():
    """Too late, or to another path."""
    token = seal_place(PLACE, SEAL.seal)
    for given in ({"now": 1001}, {"path": "Patient"}):
        with pytest.raises(Invalid):
            opened(token, **given)
