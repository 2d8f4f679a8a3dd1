"""What people read of sign-ins, tokens, clients and accounts."""

from __future__ import annotations

import typing

import pytest

from fhir_dmp.audit.parts import Part
from fhir_dmp.audit.words import narrative
from fhir_dmp.fhir import codec
from fhir_dmp.token_act import TokenKind
from tests.unit.audit.world import CALLERS, token

ACCOUNT = {"account": "a1", "identifier": "urn:x|279035121518989"}


def words(row, language="fr", act=None):
    """Return how the event of a row is told."""
    part = Part(act or row["act"], row.get("outcome", "0"), names=(row["on"],) if "on" in row else ())
    return narrative(row, part, language, part.names, None)["div"]


def told(act, language="fr", **more):
    """Return how an OAuth act is told."""
    return words(codec.loads_object(token(act, **more).body), language)


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_act_of_tokens_accounts_and_clients_has_words_of_its_own(language):
    """None of them is just a request; and no two are told alike."""
    acts = [*typing.get_args(TokenKind), "$explain"]
    bare = {act: words({"recorded": "2026-11-25T12:00:00Z"}, language, act) for act in (*acts, "never-heard-of")}
    generic = bare.pop("never-heard-of")

    assert [act for act, div in bare.items() if div == generic] == []
    assert len(set(bare.values())) == len(acts)


@pytest.mark.parametrize("act", ["login", "logout"])
def test_who_signs_in_or_out_is_no_stranger(act):
    """It is their account that says who they are: by the number, of rows that hold no name."""
    french, english = (told(act, language, subject=None, method="password", **ACCOUNT) for language in ("fr", "en"))

    assert "inconnu" not in french
    assert "le titulaire du compte 279035121518989 s'est" in french
    assert "the owner of the account 279035121518989 signed" in english


def test_who_failed_to_sign_in_is_unknown_and_the_account_is_named():
    """Whoever typed a wrong password has not shown whose it is."""
    row = {"act": "login", "outcome": "8", "recorded": "2026-11-25T12:00:00Z", "account": {"identifier": "urn:x|279"}}

    assert "un inconnu a demandé à se connecter : 279." in words(row)


def test_an_account_that_an_operator_changed_is_named():
    """Beside who changed it."""
    text = told("account-password", subject=CALLERS["operator"], **ACCOUNT)

    assert "(alice) a changé le mot de passe d'un compte : 279035121518989, pour la gestion du système." in text
