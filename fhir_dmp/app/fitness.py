"""Whether a database may be served: looked at once, before any worker comes."""

from __future__ import annotations

from fhir_dmp.app.database import DatabaseError, uri_of
from fhir_dmp.clock import SystemClock
from fhir_dmp.service.no_demo import require_no_demo
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import users
from fhir_dmp.stores.mongo.accounts import MongoAccounts
from fhir_dmp.stores.mongo.grants import MongoGrants
from fhir_dmp.stores.mongo.store import MongoStore


def require_fit(settings: Settings) -> None:
    """Raise what is wrong with the database; a new one is made ready, so that no two workers do it.

    Raises ``DatabaseError`` if its user could change the log and the settings do not accept that, ``Conflict`` if a demonstration
    made it, ``Unavailable`` if it does not answer.
    """
    store = MongoStore.connect(
        uri_of(settings, users.APP), settings.mongodb_database, clock=SystemClock(), settings=settings
    )
    try:
        if not settings.alterable_log and store.may_alter_log():
            raise DatabaseError(
                "The user of DMP_MONGODB_URI may change or remove rows of the log. Give the server one that may not: "
                "fhir-dmp audit users prints what to run; or set DMP_ALTERABLE_LOG=true to serve all the same."
            )
        require_no_demo(MongoGrants(store.database), MongoAccounts(store.database))
        if store.first:
            from fhir_dmp.app.server import make_ready  # noqa: PLC0415 - most of the program, which a database needs once

            make_ready(store)
    finally:
        store.close()
