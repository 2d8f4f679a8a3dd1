"""Loads as ``wrk`` makes them: a Lua script for each, run for some seconds, and what it counted. https://github.com/wg/wrk."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = "10s"

_SCRIPT = """
local paths = {{{paths}}}
local bodies = {{{bodies}}}
local headers = {{{headers}}}
local threads = 0

function setup(thread)
  thread:set("first", threads * 7919)
  thread:set("name", threads)
  threads = threads + 1
end

function init()
  i = first
end

{request}

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT requests=%d micros=%d p50=%.0f p99=%.0f refused=%d broken=%d\\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""

_IN_TURN = """function request()
  i = i + 1
  local body = bodies[i % math.max(#bodies, 1) + 1]
  if body then body = body:gsub("@NEW@", {stamp} .. "-" .. name .. "-" .. i) end
  return wrk.format("{method}", paths[i % #paths + 1], headers, body)
end"""

_MIXED = """function request()
  i = i + 1
  local step, n = i % 4, math.floor(i / 4)
  local behind = {{0, 40, 80, 120}}
  local method = ({{"PUT", "GET", "PUT", "DELETE"}})[step + 1]
  local id = {stamp} .. "-" .. name .. "-" .. (n - behind[step + 1])
  local body = nil
  if n < first / 4 + 120 then
    method, id = "PUT", {stamp} .. "-" .. name .. "-" .. n
    if step > 0 then id = id .. "-" .. step end
  end
  if method == "PUT" then
    body = bodies[n % #bodies + 1]:gsub("^{{", "{{\\"id\\":\\"" .. id .. "\\",", 1)
  end
  return wrk.format(method, paths[1] .. id, headers, body)
end"""

MIXED = "mixed"
"""Instead of a method: create, read, update and delete of one resource after the other, each 160 requests after the one before."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, in turn: GET the paths, or send them the bodies by ``sends``. ``@NEW@`` in a body is new each time."""

    name: str
    paths: Sequence[str]
    bodies: Sequence[bytes] = ()
    sends: str = "POST"

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.sends if self.bodies else "GET"


@dataclass(frozen=True, slots=True)
class Counted:
    """What wrk saw: good answers, those that refused, connections that broke or timed out; times in milliseconds."""

    good: int
    refused: int
    broken: int
    seconds: float
    p50: float
    p99: float


def script(load: Load, headers: Mapping[str, str]) -> str:
    """Return the Lua of a load. Each thread of wrk begins at another place, so that they do not ask in step."""
    return _SCRIPT.format(
        paths=",".join(_quoted(path) for path in load.paths),
        bodies=",".join(_quoted(body.decode()) for body in load.bodies),
        headers=",".join(f"[{_quoted(name)}]={_quoted(value)}" for name, value in headers.items()),
        request=_request(load),
    )


def _request(load: Load) -> str:
    stamp = _quoted(f"b{time.time_ns():x}")
    if load.method == MIXED:
        return _MIXED.format(stamp=stamp)
    return _IN_TURN.format(method=load.method, stamp=stamp)


def run(url: str, lua: Path, connections: int, seconds: int) -> Counted:
    """Load the server for so long; raise ``SystemExit`` if wrk itself fails."""
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", TIMEOUT, "-s", str(lua), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode != 0:
        raise SystemExit(f"wrk failed: {done.stderr or done.stdout}")
    return read(done.stdout)


def read(told: str) -> Counted:
    """Return what wrk counted from what it printed."""
    line = re.search(r"^RESULT (.+)$", told, re.MULTILINE)
    if line is None:
        raise SystemExit(f"wrk said nothing that can be read: {told}")
    said = {name: int(value) for name, value in (pair.split("=") for pair in line[1].split())}
    return Counted(
        good=said["requests"] - said["refused"],
        refused=said["refused"],
        broken=said["broken"],
        seconds=said["micros"] / 1e6,
        p50=said["p50"] / 1000,
        p99=said["p99"] / 1000,
    )


def _quoted(text: str) -> str:
    r"""Return the text as a Lua string: JSON's escapes are Lua's, but for the slash and ``\\u``, which are not made here."""
    return json.dumps(text, ensure_ascii=False)
