"""Bundles to be sent, and what comes back of them. https://hl7.org/fhir/R4/bundle.html."""

from __future__ import annotations

import re

SYSTEM = "urn:oid:1.2.250.1.213.1.4.10"
ONE = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
TWO = "urn:uuid:88f151c0-a954-468a-88bd-5ae15c08e059"


_OWN = re.compile(rb'"Bundle","id":"[0-9a-f-]{36}"(?:,"meta":{"lastUpdated":"[^"]+"})?')


def without_its_own(body):
    """Return the bytes of an answer without what each Bundle has of its own: its id, and the moment that a list tells."""
    return _OWN.sub(b'"Bundle"', body)


def patient(value=None, **more):
    """Return a Patient, with an identifier of that value."""
    identifier = {"identifier": [{"system": SYSTEM, "value": value}]} if value else {}
    return {"resourceType": "Patient", **identifier, **more}


def observation(subject, **more):
    """Return an Observation about the subject."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": subject},
        **more,
    }


def entry(method, url, resource=None, full_url=None, **request):
    """Return one entry."""
    made = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    if full_url is not None:
        made["fullUrl"] = full_url
    return made


def bundle(*entries, kind="transaction"):
    """Return the bundle to be sent."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def send(caller, *entries, kind="transaction", **options):
    """Send a bundle and return the HTTP answer."""
    return caller.post("", bundle(*entries, kind=kind), **options)


def done(answer):
    """Return the response parts of the entries, in the order of the request."""
    assert answer.status_code == 200, answer.data
    return [each["response"] for each in answer.json["entry"]]


def made_id(response):
    """Return the id in a location."""
    return response["location"].split("/")[-3]


def count(caller, url):
    """Return how many rows match."""
    return caller.get(url + ("&" if "?" in url else "?") + "_total=accurate").json["total"]
