"""A real OpenID provider in a process of its own, with people in it: oidc-provider from npm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests
from joserfc.jwk import ECKey

PROGRAM = Path(__file__).parent / "npm" / "provider.mjs"
SECRET = "a secret that the tests alone know"
PLACES = [
    {"raisonSocialeSite": "Hôpital de la Plage", "ancienIdentifiantDeLaStructure": "1750712184"},
    {"raisonSocialeSite": "Cabinet du Port", "ancienIdentifiantDeLaStructure": "499700218896001"},
]


def professional(idnps, *places, profession="10", specialty="SM26", acr="eidas1", **more):
    """Return a person as Pro Santé Connect tells of them."""
    exercise = {
        "codeProfession": profession,
        "codeSavoirFaire": specialty,
        "nomDexercice": "MARTIN",
        "prenomDexercice": "Anne",
        "activities": list(places),
    }
    return {"acr": acr, "claims": {"SubjectNameID": idnps, "SubjectRefPro": {"exercices": [exercise]}, **more}}


def citizen(given="Zoé Marie", birth="2012-05-31", acr="eidas2"):
    """Return a person as FranceConnect tells of them."""
    traits = {
        "family_name": "PETIT",
        "given_name": given,
        "birthdate": birth,
        "gender": "female",
        "birthplace": "75056",
    }
    return {"acr": acr, "claims": traits}


PEOPLE = {
    "dr.martin": professional("899700218896", *PLACES),
    "dr.one-place": professional("899700218904", PLACES[0]),
    "weak": professional("899700218912", PLACES[0], acr="eidas0"),
    "insurer": professional("899700218920", PLACES[0], profession="HPAYMT"),
    "zoe": citizen(),
    "stranger": citizen("Zoé Lou"),
}
CLAIMS = {
    "openid": ["sub"],
    "scope_all": ["SubjectNameID", "SubjectRefPro"],
    "identite_pivot": ["family_name", "given_name", "birthdate", "gender", "birthplace"],
}


@dataclass
class ProviderProcess:
    """The provider that runs, and the file that describes it to a server."""

    issuer: str
    file: Path
    process: subprocess.Popen

    def write(self, **changed):
        """Describe the provider anew, with some fields of Pro Santé Connect's changed."""
        described = json.loads(self.file.read_text())
        described[0].update(changed)
        other = self.file.with_name(f"providers-{len(list(self.file.parent.iterdir()))}.json")
        other.write_text(json.dumps(described))
        return other

    def answer(self, url, login):
        """Be the browser of whoever gives this login at the provider; return the URL that it is sent back to."""
        with requests.Session() as browser:
            page = browser.get(url, timeout=10, allow_redirects=False)
            while page.is_redirect and urljoin(page.url, page.headers["Location"]).startswith(self.issuer):
                page = browser.get(urljoin(page.url, page.headers["Location"]), timeout=10, allow_redirects=False)
                if page.ok and "Who are you" in page.text:
                    form = {"login": login} if login else {"refuse": "1"}
                    page = browser.post(page.url, data=form, timeout=10, allow_redirects=False)
            assert page.is_redirect, page.text
            return page.headers["Location"]


def _describe(folder, issuer):
    """Write the file of the providers, and the files that it names."""
    key = ECKey.generate_key("P-256")
    (folder / "fc.jwk.json").write_text(json.dumps({**key.as_dict(private=True), "kid": "us"}))
    (folder / "psc.secret").write_text(SECRET)
    psc = {
        "name": "psc",
        "label": "Pro Santé Connect",
        "kind": "professional",
        "issuer": issuer,
        "client_id": "dmp",
        "client_secret_file": "psc.secret",
        "scopes": ["openid", "scope_all"],
        "acr_values": ["eidas1"],
        "match": ["identifier"],
        "open": True,
        "claims": {
            "identifier": {"system": "urn:oid:1.2.250.1.71.4.2.1", "path": "SubjectNameID"},
            "name": ["SubjectRefPro.exercices[].prenomDexercice", "SubjectRefPro.exercices[].nomDexercice"],
            "situations": {
                "each": "SubjectRefPro.exercices[]",
                "profession": "codeProfession",
                "specialty": "codeSavoirFaire",
                "where": "activities[]",
                "organization": {"system": "urn:oid:1.2.250.1.71.4.2.2", "path": "ancienIdentifiantDeLaStructure"},
                "label": "raisonSocialeSite",
            },
        },
    }
    fc = {
        "name": "fc",
        "label": "FranceConnect",
        "kind": "patient",
        "issuer": issuer,
        "client_id": "dmp-patients",
        "private_key_file": "fc.jwk.json",
        "scopes": ["openid", "identite_pivot"],
        "acr_values": ["eidas2"],
        "match": ["traits"],
        "claims": {
            "name": ["given_name", "family_name"],
            "traits": {
                "family": "family_name",
                "given": "given_name",
                "birth_date": "birthdate",
                "sex": "gender",
                "birth_place": "birthplace",
            },
        },
    }
    file = folder / "providers.json"
    clinic = {**psc, "name": "clinic", "label": "Clinique du Parc"}
    del clinic["acr_values"]
    file.write_text(json.dumps([psc, fc, clinic]))
    return file, {**key.as_dict(private=False), "kid": "us"}


def _clients(public_url, key):
    code = {"grant_types": ["authorization_code"], "response_types": ["code"]}
    return [
        {
            **code,
            "client_id": "dmp",
            "client_secret": SECRET,
            "redirect_uris": [f"{public_url}/oauth/sign-in/from/{name}" for name in ("psc", "clinic")],
        },
        {
            **code,
            "client_id": "dmp-patients",
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [key]},
            "userinfo_signed_response_alg": "RS256",
            "redirect_uris": [f"{public_url}/oauth/sign-in/from/fc"],
        },
    ]


@contextmanager
def running_provider(folder, port, public_url):
    """Run the provider on the loopback for a server at ``public_url``."""
    assert (PROGRAM.parent / "node_modules").exists(), "scripts/test_tools installs what this test talks to"
    file, key = _describe(folder, f"http://127.0.0.1:{port}")
    people = folder / "people.json"
    people.write_text(json.dumps({"clients": _clients(public_url, key), "people": PEOPLE, "claims": CLAIMS}))
    with (folder / "provider.log").open("w") as log:
        process = subprocess.Popen(
            [shutil.which("node"), PROGRAM, str(port), str(people)], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, folder / "provider.log")
        yield ProviderProcess(f"http://127.0.0.1:{port}", file, process)
    finally:
        process.terminate()
        process.wait(20)


def _wait(process, log):
    ends = time.monotonic() + 60
    while not re.search(r"listening at", log.read_text()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.05)
