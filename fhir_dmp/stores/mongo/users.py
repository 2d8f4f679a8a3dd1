"""Who may do what in the database: the application adds to the log and never changes it; who seals it writes none of it.

===========  ======================  ===================  ==================
user         records (``name``)      ``name_log``         ``name_seal``
===========  ======================  ===================  ==================
``app``      reads and writes        reads and inserts    reads
``sealer``   nothing                 reads                reads and writes
``owner``    everything, for backups, for making users, and for removing a period that was retired
===========  ======================  ===================  ==================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, SEAL_SUFFIX

APP, SEALER = "app", "sealer"
_READS = ("find", "listCollections", "listIndexes", "collStats", "dbStats")
_INSERTS = (*_READS, "insert", "createCollection", "createIndex")
_ALTERS = frozenset(
    {
        "anyAction",
        "collMod",
        "convertToCapped",
        "dropCollection",
        "dropDatabase",
        "remove",
        "renameCollectionSameDB",
        "update",
    }
)
"""Actions by which what is stored can be changed or taken away."""

_EXISTS = (51002, 51003)


def roles(name: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the role of each user, as ``createRole`` takes it."""
    log, seal = f"{name}{LOG_SUFFIX}", f"{name}{SEAL_SUFFIX}"
    return {
        APP: {
            "roles": [{"role": "readWrite", "db": name}, {"role": "read", "db": seal}],
            "privileges": [{"resource": {"db": log, "collection": ""}, "actions": list(_INSERTS)}],
        },
        SEALER: {
            "roles": [{"role": "readWrite", "db": seal}],
            "privileges": [{"resource": {"db": log, "collection": ""}, "actions": list(_READS)}],
        },
    }


def make_users(owner: MongoClient[dict[str, Any]], name: str, passwords: Mapping[str, str]) -> None:
    """Make roles and users for the databases of that name, or bring them up to date; ``passwords`` are by user."""
    for user, role in roles(name).items():
        called = f"{name}_{user}"
        _make(owner, "Role", called, **role)
        _make(owner, "User", called, pwd=passwords[user], roles=[called])


def _make(owner: MongoClient[dict[str, Any]], kind: str, called: str, **what: Any) -> None:
    try:
        owner.admin.command(f"create{kind}", called, **what)
    except OperationFailure as refusal:
        if refusal.code not in _EXISTS:
            raise
        owner.admin.command(f"update{kind}", called, **what)


def may_alter_log(client: MongoClient[dict[str, Any]], name: str) -> bool:
    """Tell whether who is connected could change or remove rows of the log."""
    status = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    if not status["authenticatedUsers"]:
        return True
    return _alters(status["authenticatedUserPrivileges"], f"{name}{LOG_SUFFIX}")


def _alters(privileges: Iterable[Mapping[str, Any]], log: str) -> bool:
    for privilege in privileges:
        resource = privilege["resource"]
        reached = resource.get("anyResource") or resource.get("db") in ("", log)
        if reached and _ALTERS & set(privilege["actions"]):
            return True
    return False


def script(name: str) -> str:
    """Return what the keeper of a database runs in mongosh, to make roles and users; passwords are asked for there."""
    lines = ["db = db.getSiblingDB('admin')"]
    for user, role in roles(name).items():
        called = f"{name}_{user}"
        lines.append(
            f"db.createRole({{role: '{called}', privileges: {list(role['privileges'])}, roles: {role['roles']}}})"
        )
        lines.append(f"db.createUser({{user: '{called}', pwd: passwordPrompt(), roles: ['{called}']}})")
    return "\n".join(lines)
