"""What a password, a second factor and an account must be."""

from __future__ import annotations

from datetime import date
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from argon2 import PasswordHasher
from msgspec.structs import replace

from fhir_dmp.errors import Invalid
from fhir_dmp.oauth.passwords import Passwords, require_good
from fhir_dmp.oauth.people import compared_login, is_minor, require_account
from fhir_dmp.oauth.totp import enrolment_uri, hash_recovery_code, matching_step, new_recovery_codes, new_secret
from fhir_dmp.store.accounts import Account, Situation

PATIENT = Account("a", "patient", "Zoé Petit", "Patient/z", "urn:ins|1", 0, 0, login="zoe.petit", password="h")
DOCTOR = replace(PATIENT, kind="professional", resource="Practitioner/p", situations=(Situation("10", "SM26"),))


@pytest.mark.parametrize(
    "password",
    ["cheval agrafe pile correct", "7#2k9!4x8$1q", "Ünïcode-ça-marche", "été " * 3 + "hiver", "x" + "y1z2" * 60],
)
def test_a_long_password_that_nobody_guesses_is_taken(password):
    """No rule of composition: length, and what others would try."""
    require_good(password, "zoe.petit", "Zoé Petit")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "court",
        "x1!yZ_4vbnm",
        "aaaaaaaaaaaaaa",
        "abababababab",
        "839201948302",
        "motdepasse123",
        "MotDePasse!2024",
        "password1234",
        "azertyuiop12",
        "doudou12doudou",
        "!bienvenue2026!",
        "zoe.petit.2015",
        "soleil ZOE PETIT rouge".replace(" ZOE PETIT ", " Zoé Petit "),
        "é" * 257,
    ],
)
def test_a_password_that_is_tried_first_is_refused(password):
    """Short, monotonous, in everybody's list, or known of its owner."""
    with pytest.raises(Invalid):
        require_good(password, "zoe.petit", "Zoé Petit")


def test_a_password_is_kept_as_argon2id_and_recognised_however_it_is_typed():
    """Composed and decomposed letters are the same password; another, or nobody's, is not."""
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    hashed = passwords.hash("caf\u00e9 au lait, merci")

    assert hashed.startswith("$argon2id$")
    assert passwords.verify(hashed, "cafe\u0301 au lait, merci")
    assert not passwords.verify(hashed, "cafe au lait, merci")
    assert not passwords.verify(None, "nobody has this password")
    assert not passwords.verify("not a hash", "x")


def test_the_costs_of_a_hash_are_those_of_the_rfc():
    """64 MiB and three passes: the second recommended choice of RFC 9106, 4."""
    assert Passwords().hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_code_is_that_of_its_time_give_or_take_one_step():
    """RFC 6238: the secret and the clock make it; what is no six digits is never one."""
    secret = new_secret()
    now = 1_764_000_015
    code = pyotp.TOTP(secret).at(now)

    assert matching_step(secret, code, now) == now // 30
    assert matching_step(secret, f" {code[:3]} {code[3:]}", now + 30) == now // 30
    assert matching_step(secret, code, now - 30) == now // 30
    assert matching_step(secret, code, now + 60) is None
    assert matching_step(new_secret(), code, now) is None
    for text in ("", "12345", "1234567", "abcdef", "١٢٣٤٥٦"):
        assert matching_step(secret, text, now) is None


def test_the_published_vector_of_the_rfc_holds():
    """RFC 6238, appendix B, SHA-1 at 59 seconds."""
    assert matching_step("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "287082", 59) == 1


def test_a_telephone_reads_the_enrolment():
    """The URI names us, the login and the secret."""
    secret = new_secret()
    parts = urlsplit(enrolment_uri(secret, "zoe.petit"))

    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parse_qs(parts.query)["secret"] == [secret]
    assert "zoe.petit" in parts.path


def test_recovery_codes_are_many_random_and_read_leniently():
    """80 bits each; blanks, hyphens and small letters do not matter."""
    codes = new_recovery_codes()

    assert len(set(codes)) == 8
    assert all(len(code.replace("-", "")) == 16 for code in codes)
    assert hash_recovery_code(codes[0]) == hash_recovery_code(codes[0].lower().replace("-", " "))
    assert hash_recovery_code(codes[0]) != hash_recovery_code(codes[1])


def test_a_login_is_compared_without_its_case_and_its_blanks():
    """One person, however they type."""
    assert compared_login("  Zoé.PETIT ") == compared_login("zoe\u0301.petit") == "zoé.petit"


@pytest.mark.parametrize(
    "account",
    [
        PATIENT,
        DOCTOR,
        replace(PATIENT, resource="RelatedPerson/r", birth_date="1980-02-29"),
        replace(DOCTOR, login=None, password=None, provider="psc", subject="f:1"),
    ],
)
def test_people_have_accounts(account):
    """Patients, representatives, professionals; by password or by a provider."""
    require_account(account)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "insurer"},
        {"name": ""},
        {"name": "<b>"},
        {"identifier": "42"},
        {"login": "a b"},
        {"login": None, "password": None},
        {"login": None},
        {"password": None},
        {"resource": "Practitioner/p"},
        {"resource": "Organization/axa"},
        {"resource": "Patient/../x"},
        {"situations": (Situation("10"),)},
        {"birth_date": "2012-02-30"},
        {"birth_date": "20120203"},
    ],
    ids=str,
)
def test_what_is_no_person_has_no_account(changed):
    """Each fault is named."""
    with pytest.raises(Invalid):
        require_account(replace(PATIENT, **changed))


@pytest.mark.parametrize(
    "situations",
    [(), (Situation("99"),), (Situation("HPAYMT"),), (Situation("10", "sm 26"),), (Situation("10", None, "1"),)],
    ids=str,
)
def test_a_professional_is_one_of_health(situations):
    """At least one situation, each of a profession of TRE_G15."""
    with pytest.raises(Invalid):
        require_account(replace(DOCTOR, situations=situations))


@pytest.mark.parametrize(
    ("born", "minor"),
    [("2008-11-26", True), ("2008-11-25", False), ("2008-11-24", False), ("1950-01-01", False), (None, False)],
)
def test_a_minor_is_one_until_the_birthday(born, minor):
    """To the day."""
    assert is_minor(born, date(2026, 11, 25), 18) is minor
