"""Signing in by a provider's word, with a real OpenID provider in a process of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from msgspec.structs import replace

from fhir_dmp.errors import Unauthenticated
from fhir_dmp.oauth.oidc import Asked, OpenIdClient
from fhir_dmp.oauth.people import traits_digest
from fhir_dmp.oauth.providers import read_providers
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.questions import emergency_of, person_of
from fhir_dmp.settings import Readings
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.grants import Client
from tests.journeys.conftest import free_port
from tests.oauth_world import PUBLIC_URL, context
from tests.provider import running_provider
from tests.sign_in_world import NEXT, Visitor, opened_sign_in_world

HOSPITAL = Situation("10", "SM26", "urn:oid:1.2.250.1.71.4.2.2|1750712184", "Hôpital de la Plage")
PRACTICE = Situation("10", "SM26", "urn:oid:1.2.250.1.71.4.2.2|499700218896001", "Cabinet du Port")
CLIENT = Client("ehr-one", "r", "public", "ehr", (), 0)
IDNPS = "urn:oid:1.2.250.1.71.4.2.1|899700218896"
ZOES = traits_digest("Petit", "ZOE MARIE", "2012-05-31", "F", "75056")


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """One provider for the module."""
    with running_provider(tmp_path_factory.mktemp("provider"), free_port(), PUBLIC_URL) as running:
        yield running


@pytest.fixture
def world(mongodb_uri, database_name):
    """One database at the time of the provider, and as many workers as a test wants."""
    with opened_sign_in_world(mongodb_uri, database_name) as made:
        made.clock.set(datetime.now(UTC))
        yield made


def leave(visitor, name, next_=NEXT, **fields):
    """Choose a provider on the sign-in page; return where the browser is sent."""
    visitor.get("/oauth/sign-in", query_string={"next": next_})
    page = visitor.send(f"/oauth/sign-in/with/{name}?{urlencode({'next': next_})}", **fields)
    assert page.status_code == 200
    return page.text.partition('id="leave"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")


def come_back(visitor, url):
    """Follow the provider's redirect."""
    return visitor.get(url.removeprefix(PUBLIC_URL))


def sign_in(app, provider, name, login, **fields):
    """Go to the provider, be somebody there, and come back; return the browser."""
    visitor = Visitor(app)
    come_back(visitor, provider.answer(leave(visitor, name, **fields), login))
    return visitor


def who(app, visitor):
    """Return who is signed in."""
    return app.extensions["sign-in"].door.signed_in(visitor.cookie("session"))


def test_the_page_offers_the_providers_that_are_set_up(world, provider):
    """By their names, and none where there are none."""
    page = Visitor(world.app(providers=provider.file)).get("/oauth/sign-in").text

    assert "Se connecter avec Pro Santé Connect" in page
    assert "Se connecter avec FranceConnect" in page
    assert "formaction" not in Visitor(world.app()).get("/oauth/sign-in").text


def test_a_professional_comes_with_what_the_provider_knows_and_chooses_a_situation(world, provider):
    """An account is opened once, by the national identifier; one event each; the next page is remembered."""
    app = world.app(providers=provider.file)
    visitor = sign_in(app, provider, "psc", "dr.martin")
    assert visitor.page.headers["Location"].startswith("/oauth/sign-in/situation?next=")
    page = visitor.follow()
    assert all(name in page.text for name in ("Hôpital de la Plage", "Cabinet du Port", "Anne MARTIN"))
    answer = visitor.send(situation="1")

    assert answer.headers["Location"] == NEXT
    found = who(app, visitor)
    assert (found.account.identifier, found.account.resource) == (IDNPS, "Practitioner/899700218896")
    assert (found.session.situation, found.session.method) == (PRACTICE, "psc")
    assert found.account.situations == (HOSPITAL, PRACTICE)
    account = found.account.id
    assert world.told() == [("account-add", account, None, "psc"), ("login", account, None, "psc")]
    again = sign_in(app, provider, "psc", "dr.martin")
    again.follow()
    again.send(situation="0")
    assert world.told() == [("login", account, None, "psc")]


def test_a_professional_of_one_place_has_nothing_to_choose(world, provider):
    """The situation is the one that there is."""
    app = world.app(providers=provider.file)
    visitor = sign_in(app, provider, "psc", "dr.one-place")

    assert visitor.page.headers["Location"] == NEXT
    assert who(app, visitor).session.situation == HOSPITAL


@pytest.mark.rule("F20", "F21")
@pytest.mark.parametrize(("name", "strong"), [("psc", True), ("clinic", False)])
def test_a_provider_that_is_asked_for_no_level_makes_nobody_strongly_authenticated(world, provider, name, strong):
    """What a token is told of its person: who came by their clinic's own log-in feeds records, and consults none."""
    app = world.app(providers=provider.file)

    signed = who(app, sign_in(app, provider, name, "dr.one-place"))

    assert signed.session.strong is strong
    assert person_of(signed, None).strong is strong
    assert (emergency_of(CLIENT, signed, Readings()) is not None) is strong


def test_an_account_that_an_operator_opened_is_the_professionals_own(world, provider):
    """It is found by the national identifier, and linked: no second one is made."""
    account, _, _ = world.doctor()
    app = world.app(providers=provider.file)
    visitor = sign_in(app, provider, "psc", "dr.martin")
    visitor.follow()
    visitor.send(situation="0")

    found = who(app, visitor).account
    assert (found.id, found.provider, found.subject) == (account.id, "psc", "dr.martin")
    assert len(world.accounts().list(context())) == 1


def test_a_citizen_is_matched_by_the_five_traits(world, provider):
    """However they are written; the minor's choice comes with them."""
    account = world.patient(traits=ZOES, birth_date="2012-05-31")
    app = world.app(providers=provider.file)
    visitor = sign_in(app, provider, "fc", "zoe", secret="1")

    assert visitor.page.headers["Location"] == NEXT
    found = who(app, visitor)
    assert (found.account.id, found.account.subject, found.session.secret) == (account.id, "zoe", True)
    assert world.told() == [("login", account.id, None, "fc")]


@pytest.mark.parametrize("login", ["stranger", "zoe"])
def test_a_citizen_without_account_gets_none(world, provider, login):
    """Nearly the same traits are another person; nobody's record is opened by a sign-in."""
    world.patient(traits=None if login == "zoe" else ZOES)
    app = world.app(providers=provider.file)
    visitor = sign_in(app, provider, "fc", login)

    assert visitor.page.status_code == 403
    assert "aucun compte" in visitor.page.text
    assert visitor.cookie("session") is None
    assert world.told() == [("login", "", "forbidden", "fc")]
    assert len(world.accounts().list(context())) == 1


def test_a_citizens_account_that_is_linked_to_another_is_not_given_away(world, provider):
    """The first subject keeps it."""
    world.patient(traits=ZOES, provider="fc", subject="another")
    visitor = sign_in(world.app(providers=provider.file), provider, "fc", "zoe")

    assert visitor.page.status_code == 403
    assert world.acts[-1].why == "the account is linked to another subject"


@pytest.mark.parametrize(
    ("login", "status", "why"),
    [
        ("weak", 401, "the acr of the ID token does not hold"),
        ("insurer", 403, "no situation of exercise"),
        (None, 401, "the provider answers 'access_denied'"),
    ],
)
def test_who_the_provider_does_not_vouch_for_is_turned_away(world, provider, login, status, why):
    """A weak proof, no profession of health, a person who cancels: each is told, and no account is opened."""
    visitor = sign_in(world.app(providers=provider.file), provider, "psc", login)

    assert visitor.page.status_code == status
    assert [(act.kind, act.why, act.method) for act in world.acts] == [("login", why, "psc")]
    assert world.accounts().list(context()) == ()


def test_a_disabled_account_stays_so_whatever_the_provider_says(world, provider):
    """The provider knows who it is; whether they may come is ours to say."""
    account = world.patient(traits=ZOES)
    world.accounts().disable(account.id, context())
    world.acts.clear()
    visitor = sign_in(world.app(providers=provider.file), provider, "fc", "zoe")

    assert visitor.page.status_code == 401
    assert world.told() == [("login", account.id, "login", "fc")]


def test_an_answer_belongs_to_the_browser_that_asked(world, provider):
    """Not to another one, not to one that asked something else, and not twice."""
    world.patient(traits=ZOES)
    app = world.app(providers=provider.file)
    asked, other = Visitor(app), Visitor(app)
    url = provider.answer(leave(asked, "fc"), "zoe")
    assert come_back(other, url).status_code == 400
    leave(other, "fc")
    assert come_back(other, url).status_code == 401
    leave(other, "psc")
    assert come_back(other, url).status_code == 400

    assert come_back(asked, url).status_code == 303
    assert come_back(asked, url).status_code == 400


def test_an_answer_that_names_another_issuer_is_refused(world, provider):
    """Or none, where the provider said that it would: who mixes providers up gets nothing."""
    world.patient(traits=ZOES)
    app = world.app(providers=provider.file)
    for issuer in ("https://evil.example", None):
        visitor = Visitor(app)
        parts = urlsplit(provider.answer(leave(visitor, "fc"), "zoe"))
        query = {**dict(parse_qsl(parts.query)), "iss": issuer}
        changed = {name: value for name, value in query.items() if value is not None}
        assert come_back(visitor, f"{parts.path}?{urlencode(changed)}").status_code == 401


@pytest.mark.parametrize("changed", [{"nonce": "n" * 43}, {"verifier": "v" * 64}, {"state": "s" * 43}], ids=str)
def test_a_code_is_worth_nothing_without_what_it_was_asked_with(world, provider, changed):
    """State, nonce and verifier are this browser's alone."""
    [psc, *_] = read_providers(provider.file)
    client = OpenIdClient(psc, f"{PUBLIC_URL}/oauth/sign-in/from/psc", world.clock)
    asked = Asked.new()
    answer = dict(parse_qsl(urlsplit(provider.answer(client.authorization_url(asked), "dr.martin")).query))

    with pytest.raises(Unauthenticated):
        client.claims(answer, replace(asked, **changed))


def test_a_token_by_another_algorithm_is_not_believed(world, provider):
    """The operator says which are taken."""
    file = provider.write(algorithms=["ES256"])
    visitor = sign_in(world.app(providers=file), provider, "psc", "dr.martin")

    assert visitor.page.status_code == 401
    assert world.acts[-1].why.startswith("a token does not hold")


def test_a_provider_that_does_not_answer_is_said_to_be_down(world, provider):
    """Before anybody is sent there."""
    file = provider.write(issuer="http://127.0.0.1:9")
    visitor = Visitor(world.app(providers=file))
    visitor.get("/oauth/sign-in")
    page = visitor.send("/oauth/sign-in/with/psc")

    assert page.status_code == 503
    assert json.loads(file.read_text())[0]["issuer"] == "http://127.0.0.1:9"


def test_a_provider_that_is_not_set_up_leads_nowhere(world, provider):
    """By neither way."""
    visitor = Visitor(world.app(providers=provider.file))
    visitor.get("/oauth/sign-in")

    assert visitor.send("/oauth/sign-in/with/other").status_code == 404
    assert visitor.get("/oauth/sign-in/from/other?code=x").status_code == 400


def test_an_account_named_by_subject_must_be_the_person_that_the_identifier_names(world, provider):
    """A subject that was linked by mistake opens nobody else's account."""
    world._add(
        NewAccount(
            kind="professional",
            name="Somebody else",
            resource="Practitioner/p9",
            identifier="urn:oid:1.2.250.1.71.4.2.1|800000000000",
            situations=(HOSPITAL,),
            provider="psc",
            subject="dr.martin",
        )
    )
    visitor = sign_in(world.app(providers=provider.file), provider, "psc", "dr.martin")

    assert visitor.page.status_code == 403
    assert world.acts[-1].why == "the identifier is not the account's"
