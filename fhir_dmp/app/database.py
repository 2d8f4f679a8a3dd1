"""Which database a process is on, and as which of its users."""

from __future__ import annotations

from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import embedded, users
from fhir_dmp.stores.mongo.data_folder import DatabaseError

__all__ = ["DatabaseError", "uri_of", "users_script"]


def uri_of(settings: Settings, user: str) -> str:
    """Return the address of the database for that user; the embedded one makes users of its own."""
    named = {users.APP: settings.mongodb_uri, users.SEALER: settings.mongodb_sealer_uri or settings.mongodb_uri}
    return named[user] or embedded.uri(settings.data_dir, user, settings.mongodb_database)


def users_script(settings: Settings) -> str:
    """Return what makes the users of a database in mongosh."""
    return users.script(settings.mongodb_database)
