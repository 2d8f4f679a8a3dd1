"""What is shipped: scripts, the lock, the image."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import tomllib

import pytest

from tests.architecture.tree import ROOT, name

LOCK = (ROOT / "requirements.lock").read_text()
BUILD_LOCK = (ROOT / "requirements-build.lock").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SCRIPTS = sorted(
    path for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"] if path.is_file() and not path.suffix
)


def _setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _plain(requirement):
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!;\[ ]", requirement.strip())[0]).lower()


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_stops_at_its_first_fault_and_works_from_anywhere(path):
    """Each is executable, strict, goes to the root itself, and is whole."""
    text = path.read_text()

    assert os.access(path, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "set -euo pipefail" in text
    assert 'cd "$(dirname "$0")/.."' in text
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_the_lock_holds_all_that_the_server_needs():
    """Who adds a dependency makes the lock anew."""
    locked = {_plain(each) for each in re.findall(r"^([A-Za-z0-9][^=\s]*)==", LOCK, re.MULTILINE)}
    needed = {_plain(each) for each in _setup()["options"]["install_requires"].split("\n") if each.strip()}

    assert needed <= locked


@pytest.mark.parametrize("lock", [LOCK, BUILD_LOCK], ids=["served", "build"])
def test_each_locked_part_is_pinned_by_its_hash_and_names_no_host(lock):
    """The image takes the same bytes from whichever index it is built with."""
    parts = re.split(r"\n(?=[A-Za-z0-9])", lock)[1:]

    assert parts
    assert all("--hash=sha256:" in part for part in parts)
    assert "://" not in lock


def test_what_builds_the_package_is_locked_as_well():
    """Its code runs while the image is built: pip fetches none of it by itself."""
    builders = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]

    assert {_plain(each) for each in builders} == set(re.findall(r"^([a-z][^=\s]*)==", BUILD_LOCK, re.MULTILINE))
    assert "-r requirements-build.lock" in DOCKERFILE
    assert "--no-build-isolation" in DOCKERFILE


def test_programs_from_npm_are_pinned_by_their_hash_and_name_no_host():
    """For the tests alone; each is the one that was tried, from whichever registry it comes."""
    parts = json.loads((ROOT / "tests" / "npm" / "package-lock.json").read_text())["packages"]
    installed = [part for place, part in parts.items() if place]

    assert installed
    assert all(part["integrity"].startswith("sha512-") and "resolved" not in part for part in installed)


def test_the_image_runs_as_nobody_in_particular_and_tells_its_health():
    """Not root, checked by what a balancer asks, built only if the tables are in step."""
    assert re.search(r"^USER (?!root|0)\S+$", DOCKERFILE, re.MULTILINE)
    assert "/readyz" in DOCKERFILE
    assert "build_definitions.py --check" in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE


def test_the_image_gets_each_file_that_its_build_needs():
    """What the package is made of is let through, and nothing else."""
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert {"fhir_dmp", "profiles", "setup.cfg", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"} <= kept
    assert all((ROOT / path).exists() for path in kept)


def test_the_licence_is_the_one_that_is_declared():
    """Apache 2.0, whole."""
    text = (ROOT / "LICENSE").read_text()

    assert _setup()["metadata"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
