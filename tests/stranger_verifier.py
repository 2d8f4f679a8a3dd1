"""A verifier by a stranger: written from docs/verify-the-log.md, it shares no code with the server.

Usage: stranger_verifier.py EXPORT HEADS PUBLIC-KEY. Prints what it found, and what a part of a log leaves open; exit code 1 if anything is
wrong.
"""

import base64
import hashlib
import json
import sys
import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(stack):
    """Fold the complete subtrees, the largest first."""
    if not stack:
        return sha()
    folded = stack[-1][1]
    for _, left in reversed(stack[:-1]):
        folded = sha(b"\x01", left, folded)
    return folded


def push(stack, leaf):
    """Add a leaf to the complete subtrees (height, hash)."""
    height = 0
    while stack and stack[-1][0] == height:
        leaf = sha(b"\x01", stack.pop()[1], leaf)
        height += 1
    stack.append((height, leaf))


def read_heads(path, trusted):
    """Check the heads; return (size, root, number) of each, and of each period that was removed (rows, root, size of the head)."""
    keys = {hashlib.sha256(trusted).hexdigest()[:16]: trusted}
    heads, removed, vouched, last = [], {}, False, None

    def check(note, signature, key):
        if key not in keys:
            return False
        Ed25519PublicKey.from_public_bytes(keys[key]).verify(signature, note.encode())
        return keys[key] == trusted

    for line in path.read_bytes().splitlines():
        told = json.loads(line)
        note, signature = told["note"], base64.b64decode(told["signature"])
        _, size, root, *rest = note.splitlines()
        fields = dict(each.split(" ", 1) for each in rest)
        number = int(fields["number"])
        if last:
            assert number == last[0] + 1, f"head {number} follows on head {last[0]}"
            assert fields["previous"] == hashlib.sha256(last[1].encode()).hexdigest(), (
                f"head {number} does not hold the one before"
            )
            assert fields["key"] == last[3], f"head {number} is signed out of turn"
            assert int(size) >= heads[-1][0], f"head {number} is of a smaller tree"
        turn = fields["key"]
        if "adds" in fields:
            key, public = fields["adds"].split()
            public = base64.b64decode(public)
            assert hashlib.sha256(public).hexdigest()[:16] == key
            if number == 1:
                keys[key] = public
            vouched |= check(note, signature, fields["key"])
            keys[key] = public
            turn = key
        if "removed" in fields:
            period, rows, over = fields["removed"].split()
            removed[period] = (int(rows), bytes.fromhex(over), int(size))
        heads.append((int(size), base64.b64decode(root), number))
        last = (number, note, signature, turn, fields["key"])
    vouched |= check(last[1], last[2], last[4])
    assert vouched, "no head is signed by the key that I hold"
    return heads, removed


def read_leaves(path):
    """Yield (number, hash, entry or None, period, place) of each leaf, and first of all the export's beginning."""
    for line in path.read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n"), "the export was cut"
        told = json.loads(line)
        if "hash" not in told:
            yield told
            continue
        entry = None
        if told["entry"] is not None:
            start = line.index(b'"entry":') + len(b'"entry":')
            entry = line[start : line.rindex(b"}")]
        yield told["leaf"], bytes.fromhex(told["hash"]), entry, told.get("period"), told.get("place", "")


def month_of(entry):
    """Return the period that an entry was recorded in."""
    return time.strftime("audit_%Y_%m", time.gmtime(json.loads(entry)["rec"] // 1_000_000))


def take(gone, removed, period, digest, *, there):
    """Count a leaf as one of a removed period; return False if the period is not removed, or has all its leaves already."""
    if period not in removed:
        return False
    known = gone.setdefault(period, {"stack": [], "leaves": 0, "absent": 0})
    if known["leaves"] == removed[period][0]:
        return False
    push(known["stack"], digest)
    known["leaves"] += 1
    known["absent"] += not there
    return True


def check_removed(gone, removed, first, end):
    """Return what is wrong with the periods that were removed, and those of which a part of the log cannot tell."""
    wrong, unsure = [], []
    for period, known in gone.items():
        rows, root, size = removed[period]
        if known["absent"] and known["leaves"] == rows and root_of(known["stack"]) != root:
            wrong.append(f"what is not there of {period} is not what was removed")
        elif known["absent"] and known["leaves"] < rows:
            told = f"{known['leaves']} leaves are of {period}, {rows} were removed"
            (unsure if first or end < size else wrong).append(told)
    return wrong, unsure


def main(export, heads_path, key_path):
    public = load_pem_public_key(key_path.read_bytes()).public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        heads, removed = read_heads(heads_path, public)
    except (AssertionError, InvalidSignature) as fault:
        return [f"heads: {fault!r}"], []
    leaves = read_leaves(export)
    begin = next(leaves)
    number, stack, chains, wrong = begin["leaf"], [], {}, []
    rest = number
    for digest in begin["edge"]:
        stack.append((rest.bit_length() - 1, bytes.fromhex(digest)))
        rest -= 1 << (rest.bit_length() - 1)
    whole = number == 0
    sizes, gone = {}, {}
    for size, root, head in heads:
        sizes.setdefault(size, []).append((root, head))
    named = None
    for leaf in leaves:
        named = leaf.get("head") if isinstance(leaf, dict) else None
        if isinstance(leaf, dict):
            continue
        at, digest, entry, period, place = leaf
        if at != number:
            wrong.append(f"leaf {at} stands where leaf {number} belongs")
            break
        if entry is None:
            if not take(gone, removed, period, digest, there=False):
                wrong.append(f"leaf {at} is missing")
            if len(parts := place.split("/")) == 3 and parts[2].isdecimal():
                chains[parts[0], parts[1]] = (int(parts[2]), None)
        elif sha(b"\x00", entry) != digest:
            wrong.append(f"leaf {at} is altered: {json.loads(entry)['id']}")
        else:
            told = json.loads(entry)
            row = entry[entry.index(b'"row":') + len(b'"row":') : -1]
            chain = (told["w"], told["e"])
            known = chains.get(chain)
            if known is None and (whole or told["n"] == 1):
                known = (0, sha(f"{told['w']}/{told['e']}".encode()).hex())
            if known is not None and (
                known[0] not in (None, told["n"] - 1) or (known[1] is not None and told["p"] != known[1])
            ):
                wrong.append(f"leaf {at} does not follow in its chain: {told['id']}")
            if sha(bytes.fromhex(told["p"]), row).hex() != told["h"]:
                wrong.append(f"leaf {at} is altered: {told['id']}")
            chains[chain] = (told["n"], told["h"])
            take(gone, removed, month_of(entry), digest, there=True)
        if wrong:
            chains = dict.fromkeys(chains, (None, None))
        push(stack, digest)
        number += 1
        for root, head in sizes.get(number, ()):
            if root_of(stack) != root:
                wrong.append(f"the tree of {number} leaves is not that of head {head}")
    size, _, head = next((each for each in heads if each[2] == named), heads[-1])
    if size > number:
        wrong.append(f"the log ends at {number}, head {head} holds {size}")
    lacking, unsure = check_removed(gone, removed, begin["leaf"], number)
    return [*wrong, *lacking], unsure


if __name__ == "__main__":
    found, open_still = main(*map(Path, sys.argv[1:]))
    sys.stdout.write(
        "".join(f"{each}\n" for each in (*(found or ["whole"]), *(f"not checked: {each}" for each in open_still)))
    )
    sys.exit(bool(found))
