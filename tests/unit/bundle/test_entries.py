"""From an entry to the call that it is, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.call import Act, Call, Context, Result
from fhir_dmp.errors import FhirError, Invalid, Issue, TooLong
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entries import At, answer, asked, each, entries, named
from fhir_dmp.settings import Limits

BASE = "http://127.0.0.1:8000/fhir"
CONTEXT = Context(None, datetime(2026, 1, 1, tzinfo=UTC), "r", BASE)
ENV = SimpleNamespace(
    definitions=SimpleNamespace(search_params={"Patient": {}, "Observation": {}}), limits=Limits(bundle_entries=2)
)


def call_of(method, url, resource=None, **request):
    """Return the call of an entry."""
    made = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    return asked(0, made, CONTEXT, ENV).call


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", "Patient/1", Call("read", "Patient", "1")),
        ("GET", f"{BASE}/Patient/1", Call("read", "Patient", "1")),
        ("GET", "/Patient/1", Call("read", "Patient", "1")),
        ("HEAD", "Patient/1", Call("read", "Patient", "1")),
        ("GET", "Patient/1/_history/2", Call("vread", "Patient", "1", "2")),
        ("GET", "Patient/1/_history", Call("history-instance", "Patient", "1")),
        ("GET", "Patient/_history?_count=3", Call("history-type", "Patient", params=(("_count", "3"),))),
        ("GET", "_history", Call("history-system")),
        ("GET", "Patient?name=a%26b&name=", Call("search-type", "Patient", params=(("name", "a&b"), ("name", "")))),
        ("GET", "Patient/_search?name=a", Call("search-type", "Patient", params=(("name", "a"),))),
        ("GET", "Patient", Call("search-type", "Patient")),
        ("DELETE", "Patient/1", Call("delete", "Patient", "1")),
        ("DELETE", "Patient?identifier=a|b", Call("delete", "Patient", criteria="identifier=a|b")),
    ],
)
def test_an_entry_is_the_call_that_its_request_names(method, url, expected):
    """As the same request would be outside of a bundle."""
    assert call_of(method, url) == expected


def test_conditions_reach_the_call():
    """As their headers would; an instant becomes the date that a header holds."""
    patient = {"resourceType": "Patient"}

    assert call_of("POST", "Patient", patient, ifNoneExist="identifier=1").criteria == "identifier=1"
    assert call_of("PUT", "Patient/1", patient, ifMatch='W/"1"').if_match == 'W/"1"'
    assert call_of("PUT", "Patient?identifier=1", patient, ifNoneMatch="*").if_none_match == "*"
    assert (
        call_of("GET", "Patient/1", ifModifiedSince="2015-08-31T08:14:33+10:00").if_modified_since
        == "Sun, 30 Aug 2015 22:14:33 GMT"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]) | JSON,
        "url": st.sampled_from(
            ["Patient", "Patient/1", "Patient?a=b", "Patient/1/_history/1", "?", "//", "Patient/%", "$x"]
        )
        | st.text(max_size=20)
        | JSON,
        "ifMatch": JSON,
        "ifNoneMatch": st.text(max_size=5) | JSON,
        "ifNoneExist": st.text(max_size=5) | JSON,
        "ifModifiedSince": st.text(max_size=5) | JSON,
    },
)


@given(
    st.fixed_dictionaries(
        {"request": REQUEST | JSON}, optional={"resource": JSON | st.just({"resourceType": "Patient"}), "fullUrl": JSON}
    )
    | JSON
)
def test_an_entry_of_any_shape_is_a_call_or_an_error_with_its_place(entry):
    """Never another exception, and never a place outside of the entry."""
    try:
        with At(3):
            made = asked(3, entry, CONTEXT, ENV)
    except FhirError as error:
        assert error.status in (400, 404)
        assert all((issue.expression or "").startswith("Bundle.entry[3]") for issue in error.issues)
    else:
        assert made.call.type in ("Patient", "Observation", None)


@pytest.mark.parametrize(
    ("expression", "placed"),
    [
        (None, "Bundle.entry[4]"),
        ("Patient.name[0].use", "Bundle.entry[4].resource.name[0].use"),
        ("Patient", "Bundle.entry[4].resource"),
        ("Bundle.request.url", "Bundle.entry[4].request.url"),
        ("_count", "Bundle.entry[4]"),
        ("Bundle.entry[4].request", "Bundle.entry[4].request"),
    ],
)
def test_an_issue_says_in_which_entry_it_stands(expression, placed):
    """The type's name gives way to the path of the entry."""
    with pytest.raises(Invalid) as caught, At(4):
        raise Invalid("x", expression=expression)

    assert caught.value.issues[0].expression == placed


def test_all_that_is_invalid_is_told_at_once():
    """Two of three are wrong: both stand in one error; another kind of error ends the work."""

    def work(number):
        if number != 1:
            raise Invalid(f"no {number}")
        return number

    with pytest.raises(Invalid) as caught:
        each([0, 1, 2], lambda number: number, work)
    assert [(issue.text, issue.expression) for issue in caught.value.issues] == [
        ("no 0", "Bundle.entry[0]"),
        ("no 2", "Bundle.entry[2]"),
    ]
    assert each([1, 1], lambda number: number, work) == [1, 1]


def test_a_bundle_is_what_its_type_says():
    """Batch or transaction, by bytes or parsed; nothing else."""
    assert named(Call("bundle", body=b'{"resourceType":"Bundle","type":"batch"}')).name == "batch"
    assert named(Call("bundle", body={"resourceType": "Bundle", "type": "transaction"})).name == "transaction"
    for body in (
        b"{}",
        b"[]",
        b"",
        {"resourceType": "Bundle", "type": ["batch"]},
        {"resourceType": "Bundle", "type": "history"},
    ):
        with pytest.raises(Invalid):
            named(Call("bundle", body=body))


def test_more_entries_than_the_limit_are_too_many():
    """The limit is the settings'."""
    assert len(entries(Call("batch", body={"entry": [1, 2]}), ENV)) == 2
    with pytest.raises(TooLong):
        entries(Call("batch", body={"entry": [1, 2, 3]}), ENV)


def test_an_answer_says_what_became_of_the_entry():
    """Status, location, etag and time of a write; the outcome of an error; the body only if it was asked for."""
    made = Result("created", b"{}", Ref("Patient", "1"), 1, 0)
    plain = answer(Act(Call("create"), made), CONTEXT, Call("transaction"))
    whole = answer(Act(Call("create"), made), CONTEXT, Call("transaction", prefer="representation"))
    failed = answer(Act(Call("read"), error=Invalid("x", issues=(Issue("invalid", "x"),))), CONTEXT, Call("batch"))

    assert plain.body is None
    assert plain.response == {
        "status": "201 Created",
        "location": f"{BASE}/Patient/1/_history/1",
        "etag": 'W/"1"',
        "lastModified": "1970-01-01T00:00:00.000000Z",
    }
    assert whole.body == b"{}"
    assert failed.response["status"] == "400"
    assert failed.response["outcome"]["issue"][0]["code"] == "invalid"
