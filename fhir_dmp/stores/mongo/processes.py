"""Processes of the system, as far as a mongod is one: started apart, known by its folder, waited for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

END_SECONDS = 20.0
"""How long a mongod that was told to end, or was killed, may take for it."""

SHELL = "/bin/sh"
_APART = 'said=$1; shift; "$@" </dev/null >/dev/null 2>"$said" & echo $!'


def start_apart(command: Sequence[object], said: Path) -> int:
    """Start a program that outlives us and is told nothing of our terminal's keys; return its pid.

    The file ``said`` takes what it says on standard error, or what the shell says that cannot execute it: it is no pipe, since nobody
    would read that for as long as the program lives. Raises ``OSError``, ``subprocess.SubprocessError`` or ``ValueError`` where no shell
    starts it.

    It stays in our session, as a group of processes of its own. Linux shares the processor among sessions before it does among their
    threads (sched(7), autogroup): a database in a session of its own was woken beside us in time of its own, and both worked longer
    for each answer. In turns with one that was (``mongod --fork``), 64 callers: searches and patient pages 1.03 to 1.12 times the rate,
    reads 1.03. A service of systemd and a container have one share for all that is in them anyway.
    """
    words = [SHELL, "-c", _APART, "sh", *map(str, (said, *command))]
    started = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True, process_group=0)  # noqa: S603 - a program that we found
    return int(started.stdout)


def is_mongod(pid: int, data: Path) -> bool:
    """Tell whether the process is a mongod on this folder: a pid may have been given to another since."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    name, state = state_of(pid)
    return b"--dbpath\0%b\0" % str(data).encode() in command and name == "mongod" and state != "Z"


def state_of(pid: int) -> tuple[str, str]:
    """Return the name of the process and the letter of its state, nothing of one that is gone; the name outlives its command."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return "", ""
    return name, rest.split()[0]


def let_end(pid: int) -> None:
    """Return once the mongod is gone that was told to end: until then it has the port, and the lock of its data."""
    ends = time.monotonic() + END_SECONDS
    while time.monotonic() < ends:
        name, state = state_of(pid)
        if name != "mongod" or state == "Z":
            return
        time.sleep(0.05)


def listens(pid: int, port: int) -> bool:
    """Tell whether this very process listens on the port of 127.0.0.1: another folder's mongod may have taken it meanwhile.

    https://docs.kernel.org/networking/proc_net_tcp.html: the second column is the address, the fourth the state, the tenth the inode.
    """
    own, listening = f"0100007F:{port:04X}", "0A"
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]" for row in rows if (row[1], row[3]) == (own, listening)}
        return bool(sockets) and any(
            str(each.readlink()) in sockets for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()
        )
    except OSError:
        return False
