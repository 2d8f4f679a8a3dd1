"""The tables hold all of R4, and say what they leave out."""

from __future__ import annotations

from fhir_dmp.definitions.loader import load
from fhir_dmp.definitions.model import Path, Step

tables = load()


def test_all_types_of_r4_are_there():
    """146 resource types, each with its elements and parameters."""
    assert len(tables.resource_types) == 146
    for name in tables.resource_types:
        assert tables.types[name].kind == "resource"
        assert {"_id", "_lastUpdated", "_tag", "_profile", "_security", "_source"} <= tables.search_params[name].keys()


def test_a_choice_becomes_the_properties_that_json_has():
    """An expression without ``as`` has a path for each type; with it, one."""
    date = tables.search_params["Observation"]["date"]
    quantity = tables.search_params["Observation"]["value-quantity"]

    assert {(path.steps[0].name, path.type) for path in date.paths} == {
        ("effectiveDateTime", "dateTime"),
        ("effectivePeriod", "Period"),
        ("effectiveTiming", "Timing"),
        ("effectiveInstant", "instant"),
    }
    assert [path.steps[0].name for path in quantity.paths] == ["valueQuantity", "valueSampledData"]


def test_conditions_in_expressions_are_kept():
    """where(system='phone') and where(resolve() is Patient)."""
    phone = tables.search_params["Patient"]["phone"]
    patient = tables.search_params["Observation"]["patient"]

    assert phone.paths == (Path((Step("telecom", where=("system", "phone")),), "ContactPoint"),)
    assert patient.paths == (Path((Step("subject", resolves_to="Patient"),), "Reference"),)


def test_what_is_not_supported_is_said_with_its_reason():
    """A short list, printed in the CapabilityStatement."""
    left_out = {(each.type, each.code) for each in tables.unsupported}

    assert left_out == {
        ("*", "_query"),
        ("Bundle", "composition"),
        ("Bundle", "message"),
        ("MolecularSequence", "chromosome-variant-coordinate"),
        ("MolecularSequence", "referenceseqid-variant-coordinate"),
    }
    assert all(each.reason for each in tables.unsupported)


def test_backbones_references_and_codes_are_in_the_elements():
    """contentReference is resolved, targets and required codes are listed."""
    elements = tables.types["Observation"].elements

    assert tables.types["Observation.component"].elements["referenceRange"].type == "Observation.referenceRange"
    assert elements["status"].codes is not None
    assert "final" in elements["status"].codes
    assert "Patient" in elements["subject"].targets
    assert (elements["code"].minimum, elements["code"].maximum, elements["category"].array) == (1, 1, True)


def test_the_patient_compartment_names_its_members():
    """Of the types that have one."""
    members = tables.compartments["Patient"].members

    assert set(members["Observation"]) == {"subject", "performer"}
    assert "Practitioner" not in members
