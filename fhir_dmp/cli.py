"""The command line: each command acts as a named operator, through the doors, and leaves its events."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from fhir_dmp.settings import Settings

_ROLES = ("ehr", "lab", "insurance-feed", "auditor", "samu", "app", "admin")
