"""The end of access in an emergency whose time is over: nobody asked for anything, and the log tells it. https://hl7.org/fhir/R4/auditevent.html."""

from __future__ import annotations

from fhir_dmp.audit.index import index_of
from fhir_dmp.audit.scopes import clean_scopes
from fhir_dmp.clock import instant
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.store.change import Event

EXPIRY = "break-glass-expiry"
_KEPT = ("agent", "person", "purpose", "for", "scopes")
"""What the end has of its beginning, in the order of the format: by whom, why, in whose record."""


def expiry(start: Event, event_id: str, recorded: int) -> Event:
    """Return the row that ends what the row ``start`` began, in its format; ``recorded`` is microseconds since 1970.

    Nothing was sent, so that there is no request and no address; the written reason stands where the access began. Raises ``ValueError``
    where somebody damaged the row that tells of it.
    """
    try:
        began = codec.loads_object(start.body)
        kept = {name: began[name] for name in _KEPT if name in began}
        if "scopes" in kept:
            kept["scopes"] = clean_scopes(kept["scopes"])
        row = {"v": began["v"], "id": event_id, "recorded": instant(recorded), "act": EXPIRY, "outcome": "0", **kept}
        return Event(event_id, recorded, codec.dumps(row), index_of(row))
    except (FhirError, LookupError, TypeError, AttributeError) as fault:
        raise ValueError(f"the row {start.id} says nothing any more") from fault
