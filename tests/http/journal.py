"""The traces of a record as somebody finds them, and what each of them tells."""

from __future__ import annotations

import json


def traces(actor, query=""):
    """Return the AuditEvents that somebody finds."""
    answer = actor.search("AuditEvent", query)
    assert answer.status == 200, answer
    return [entry["resource"] for entry in answer.body.get("entry", ())]


def told(event):
    """Return what an event says in words."""
    return event["text"]["div"]


def acts(events):
    """Return interaction and outcome of each."""
    return [(event["subtype"][0]["code"], event["outcome"]) for event in events]


def user(event):
    """Return the agent who asked for it."""
    return next(agent for agent in event["agent"] if agent["requestor"])


def parent_of(world):
    """Return a representative of a minor, whose record is made for it."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    related = {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    return world.representative(f"RelatedPerson/{world.insurance.made(related)['id']}")


def named(event, own):
    """Return what an event is about, without the id and what tells one request from another."""
    entities = [entity for entity in event["entity"] if "role" in entity]
    return json.dumps(entities, sort_keys=True).replace(own, "ID")
