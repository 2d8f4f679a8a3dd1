"""The people of the demonstration: they can sign in there, and nowhere else."""

from __future__ import annotations

import pyotp
import pytest

from fhir_dmp.demo.people import LOGINS, PASSWORD, TOTP, people
from fhir_dmp.errors import Conflict
from fhir_dmp.service.demo import BUNDLES, prepare_demo
from fhir_dmp.service.no_demo import require_no_demo
from fhir_dmp.service.sign_in import Attempt


def test_the_people_of_a_demonstration_sign_in_and_no_server_serves_them(app):
    """Their records are there and loaded without a fault; done again, nothing is doubled; the client's removal is not enough."""
    server, outcomes = app.extensions["fhir_dmp"], []
    context = server.operator_context("tester", "test")
    for _ in range(2):
        prepare_demo(server, 0, 1, outcomes.append)
    accounts = {each.login: each for each in server.accounts.list(context)}

    assert [outcome.error for outcome in outcomes] == [None] * 2 * BUNDLES
    assert set(accounts) == set(LOGINS)
    door = server.federation.sign_in
    for login, account in accounts.items():
        step = door.by_password(Attempt(login, PASSWORD, "192.0.2.1"), context)
        if account.kind == "professional":
            step = door.by_code(step.token, pyotp.TOTP(TOTP).now(), "", context)
        assert step.stage == ("situation" if len(account.situations) > 1 else "signed-in")
    with pytest.raises(Conflict, match="demo-ehr"):
        require_no_demo(server.grants, server.accounts.accounts)
    for client in server.clients.list(context):
        server.clients.remove(client.id, context)
    with pytest.raises(Conflict, match=r"claire\.morel"):
        require_no_demo(server.grants, server.accounts.accounts)
    for login in LOGINS:
        server.accounts.remove(login, context)
    require_no_demo(server.grants, server.accounts.accounts)


def test_a_father_stands_in_the_record_of_his_child():
    """As the related person whom the insurance states; he has no record here himself."""
    hugo = next(person for person in people(1) if person.login == "hugo.morel")

    assert [(each.resource, each.patient) for each in hugo.represents] == [
        ("RelatedPerson/demo-1-father-of-leo", "Patient/demo-1-leo")
    ]
    assert hugo.resource.startswith("RelatedPerson/")
