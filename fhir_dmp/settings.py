"""Settings: the only reader of the environment.

Each field of ``Settings`` is the variable ``DMP_`` + its name in capitals; the README lists them all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct, field
from msgspec.structs import fields

OFF_BY_ZERO = frozenset({"DMP_METRICS_PORT", "DMP_GZIP_FROM", "DMP_LIMIT_WORDS", "DMP_TRUSTED_PROXIES"})
"""Variables that 0 switches off; any other figure is more than 0."""


class Limits(Struct, frozen=True):
    """Bounds of one request (bytes, counts, seconds)."""

    body: int = 32 * 1024 * 1024
    bundle_entries: int = 5000
    resource: int = 8 * 1024 * 1024
    index_entries: int = 5000
    page: int = 1000
    default_page: int = 50
    included: int = 1000
    chain: int = 10_000
    clauses: int = 100
    words: int = 200
    policies: int = 1000
    page_token_seconds: int = 3600


class Readings(Struct, frozen=True):
    """How the rules of the French record are read where no text that was had settles them; a default is the stricter, or today's use.

    In an emergency (``BTG``, ``ETREAT``) ``emergency_masked`` shows what is masked and ``emergency_matrix`` keeps to the matrix;
    ``block_in_break_glass`` shuts who was blocked out of break-glass too, and ``break_glass_professions`` are who may break it (codes of
    TRE_G15 between commas; empty: any). An authorisation whose end is not told, or that a professional declares, holds for
    ``authorization_days`` at most, any other for ``longest_authorization_days``. ``masked_and_invisible`` lets an item be hidden from
    professionals and, until it is announced, from the patient. ``reopening`` lets a holder open again what they closed.
    ``several_doctors`` lets more than the first doctor be the attending one.
    ``structures_consult`` opens records to an EHR that acts for a structure which the holder names, without a person who signed in.
    """

    emergency_masked: bool = False
    emergency_matrix: bool = True
    block_in_break_glass: bool = True
    break_glass_professions: str = ""
    authorization_days: int = 365
    longest_authorization_days: int = 1098
    masked_and_invisible: bool = False
    reopening: bool = True
    several_doctors: bool = True
    structures_consult: bool = True


class Settings(Struct, frozen=True):
    """How this server is set up.

    ``mongodb_uri`` empty means the embedded database under ``data_dir``; ``mongodb_sealer_uri`` is the same database for the user who
    seals the log (empty: the same user), ``mongodb_owner_uri`` for who may remove what was retired. ``alterable_log`` lets a
    server start whose user may change the log. ``public_url`` is where clients reach us (scheme,
    host, port): FHIR is at ``/fhir`` below it; empty means where the server on this ``data_dir`` listens. ``secret_file``
    holds 32 bytes or more that protect page tokens and stored keys; it is made under ``data_dir`` if absent.
    ``session_idle_seconds`` without being seen, or ``session_seconds`` in all, end a person's session; who is younger than
    ``majority_age`` on a day of ``time_zone`` is a minor; ``providers_file`` describes the OpenID providers that people may sign in with
    (JSON, see ``oauth.providers``). ``audit_key_file`` holds the key that signs tree heads and ``audit_heads_file`` takes them; both
    lie under ``data_dir`` if not named, and belong on a disk that the database's keepers cannot write; every
    ``audit_witness_seconds`` the newest head goes to ``audit_witness_url`` and to the timestamp authority at ``audit_timestamp_url``, whose
    certificate must lead to one of ``audit_timestamp_roots``. A month of the log is not removed before ``audit_retention_years`` have
    passed since its end, unless its keeper says why. Metrics are told at
    ``metrics_host``, ``metrics_port`` (0: nowhere), to whoever reaches that. ``trusted_proxies`` counts
    the proxies whose ``X-Forwarded-For`` is believed.
    ``cors_origins`` are the origins, between commas, whose pages may call (``*``: any).
    """

    mongodb_uri: str = ""
    mongodb_sealer_uri: str = ""
    mongodb_owner_uri: str = ""
    mongodb_database: str = "fhir_dmp"
    data_dir: Path = Path("var")
    public_url: str = ""
    secret_file: str = ""
    token_seconds: int = 300
    session_idle_seconds: int = 1800
    session_seconds: int = 28800
    majority_age: int = 18
    time_zone: str = "Europe/Paris"
    providers_file: str = ""
    emergency_seconds: int = 600
    online_seconds: int = 43_200
    offline_seconds: int = 7_776_000
    trusted_proxies: int = 0
    anonymous_per_minute: int = 600
    alterable_log: bool = False
    audit_key_file: str = ""
    audit_heads_file: str = ""
    audit_witness_url: str = ""
    audit_timestamp_url: str = ""
    audit_timestamp_roots: str = ""
    audit_witness_seconds: float = 60.0
    audit_retention_years: int = 10
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464
    audit_timeout_seconds: float = 2.0
    commit_timeout_seconds: float = 5.0
    threads: int = 64
    gzip_from: int = 2048
    cors_origins: str = ""
    log_level: str = "info"
    limits: Limits = field(default_factory=Limits)
    readings: Readings = field(default_factory=Readings)

    @property
    def metrics_dir(self) -> Path:
        """Where worker processes count."""
        return self.data_dir / "metrics"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings that ``DMP_*`` variables state; limits are ``DMP_LIMIT_*``, readings ``DMP_RULE_*``.

        Raises ``ValueError`` naming the variable that cannot be read.
        """
        environ = os.environ if environ is None else environ
        values = _values(environ, "DMP_", cls)
        parts: dict[str, Any] = {
            name: part(**_values(environ, prefix, part)) for name, (prefix, part) in _PARTS.items()
        }
        if str(values["log_level"]).upper() not in logging.getLevelNamesMapping():
            raise ValueError(f"DMP_LOG_LEVEL is debug, info, warning or error, not {values['log_level']!r}")
        _require_zone(str(values["time_zone"]))
        _require_professions(parts["readings"].break_glass_professions)
        return cls(**values, **parts)

    def to_env(self) -> dict[str, str]:
        """Return the variables that state these settings, for a process of our own."""
        values = {
            f"DMP_{each.name.upper()}": getattr(self, each.name) for each in fields(self) if each.name not in _PARTS
        }
        for name, (prefix, part) in _PARTS.items():
            values |= {f"{prefix}{each.name.upper()}": getattr(getattr(self, name), each.name) for each in fields(part)}
        return {name: str(value) for name, value in values.items()}


_PARTS: Mapping[str, tuple[str, type[Limits | Readings]]] = {
    "limits": ("DMP_LIMIT_", Limits),
    "readings": ("DMP_RULE_", Readings),
}
"""The settings that are many: how their variables begin, and what holds them."""


def _values(environ: Mapping[str, str], prefix: str, of: type[Settings | Limits | Readings]) -> dict[str, Any]:
    single = (each for each in fields(of) if each.name not in _PARTS)
    return {each.name: _read(environ, f"{prefix}{each.name.upper()}", each.default) for each in single}


def _require_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"DMP_TIME_ZONE is no time zone such as Europe/Paris: {name!r}") from None


def _require_professions(codes: str) -> None:
    for code in codes.replace(",", " ").split():
        if not (len(code) == 2 and code.isascii() and code.isdigit()):
            raise ValueError(f"DMP_RULE_BREAK_GLASS_PROFESSIONS holds codes of TRE_G15 such as 10,60, not {code!r}")


def _read(environ: Mapping[str, str], name: str, default: object) -> object:
    text = environ.get(name)
    if text is None:
        return default
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False, "": False}[text.lower()]
        value: object = type(default)(text)  # type: ignore[call-arg]
    except (ValueError, KeyError):
        raise ValueError(f"{name} cannot be read as {type(default).__name__}: {text!r}") from None
    if isinstance(value, int | float) and not (value > 0 or value == default or (value == 0 and name in OFF_BY_ZERO)):
        raise ValueError(f"{name} must be more than 0, not {text}")
    return value
