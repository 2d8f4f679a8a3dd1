"""SMART scopes taken apart. https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html."""

from __future__ import annotations

import pytest

from fhir_dmp.access.scopes import parse_scope


@pytest.mark.parametrize(("v1", "v2"), [("read", "rs"), ("write", "cud"), ("*", "cruds")])
@pytest.mark.parametrize("level", ["patient", "user", "system"])
@pytest.mark.parametrize("kind", ["Observation", "*"])
def test_a_v1_scope_is_the_v2_scope_of_its_letters(level, kind, v1, v2):
    """The table of the specification, for each level, of one type and of all."""
    old, new = parse_scope(f"{level}/{kind}.{v1}"), parse_scope(f"{level}/{kind}.{v2}")

    assert old is not None
    assert new is not None
    assert (old.level, old.type, old.actions) == (new.level, new.type, new.actions)
    assert len(old.actions) == len(v2)
