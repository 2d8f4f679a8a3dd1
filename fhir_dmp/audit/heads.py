"""Signed tree heads, one after the other, each with the hash of the one before. https://www.rfc-editor.org/rfc/rfc9162#section-4.10.

A head is a note: UTF-8 lines, each ended by a line feed. The first three are a checkpoint as transparency logs write it
(https://github.com/C2SP/C2SP/blob/main/tlog-checkpoint.md); the others are name, space, value, in this order:

==================  =================================================================================================
line 1              the origin: the log's name, given once
line 2              the size: how many leaves
line 3              the root, base64
``number N``        heads are numbered from 1 on without gaps
``previous H``      SHA-256 of the note before, hex; 64 zeros at number 1
``time T``          when it was signed: FHIR instant, UTC
``key K``           id of the key that signed: first 16 hex digits of SHA-256 of the public key's 32 bytes
``adds K P``        only where a key is introduced: its id and its 32 bytes, base64; it signs all heads that follow
``removed M N R``   only where a period was removed: the period, its count of rows, and the root over their leaves, hex
==================  =================================================================================================

In a file each head is a line of JSON: ``{"note": …, "signature": …}``, the Ed25519 signature (RFC 8032) over the note's bytes,
base64. The first head adds the key that signs it. So whoever holds any one of the keys can check all: what comes before is held
by the hashes, what comes after by the keys that were added.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Struct, field

NOTHING_BEFORE = "0" * 64
_NOTE = re.compile(
    r"(?P<origin>[^\n]{1,200})\n(?P<size>\d{1,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"number (?P<number>\d{1,18})\nprevious (?P<previous>[0-9a-f]{64})\ntime (?P<time>[^\n]{20,40})\nkey (?P<key>[0-9a-f]{16})\n"
    r"(?:adds (?P<added>[0-9a-f]{16}) (?P<public>[A-Za-z0-9+/]{43}=)\n)?"
    r"(?:removed (?P<period>[0-9a-z_]{1,40}) (?P<rows>\d{1,18}) (?P<removed_root>[0-9a-f]{64})\n)?"
)


class BrokenHeadError(ValueError):
    """The heads are not what the key's owner signed; the message says which, and how."""


class PublicKey(Struct, frozen=True):
    """A key that heads are checked with."""

    raw: bytes

    @property
    def id(self) -> str:
        """The id that heads name the key by."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify(self, signature: bytes, note: str) -> bool:
        """Tell whether the key's owner signed the note."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, note.encode())
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """Return the key as files hold it."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Return the key of a PEM file; raise ``ValueError`` if it is no Ed25519 key."""
        key = load_pem_public_key(pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("The file holds no Ed25519 public key.")  # noqa: TRY004 - a wrong file, not a wrong type of argument
        return cls(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


class SigningKey:
    """The private half of a key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Return the key of a PEM file; raise ``ValueError`` if it is no Ed25519 key."""
        key = load_pem_private_key(pem, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("The file holds no Ed25519 private key.")  # noqa: TRY004 - a wrong file, not a wrong type of argument
        return cls(key)

    def pem(self) -> bytes:
        """Return the key as files hold it."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, note: str) -> bytes:
        """Return the signature over the note's bytes."""
        return self._key.sign(note.encode())


class Removed(Struct, frozen=True):
    """A period that was removed: its name, how many rows it held, and the root over their leaves in order."""

    period: str
    rows: int
    root: bytes


class Head(Struct, frozen=True):
    """What a note says."""

    origin: str
    size: int
    root: bytes
    number: int
    previous: str
    time: str
    key: str
    adds: PublicKey | None = None
    removed: Removed | None = None

    def note(self) -> str:
        """Return the text that is signed."""
        lines = [
            self.origin,
            str(self.size),
            base64.b64encode(self.root).decode(),
            f"number {self.number}",
            f"previous {self.previous}",
            f"time {self.time}",
            f"key {self.key}",
        ]
        if self.adds:
            lines.append(f"adds {self.adds.id} {base64.b64encode(self.adds.raw).decode()}")
        if self.removed:
            lines.append(f"removed {self.removed.period} {self.removed.rows} {self.removed.root.hex()}")
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, note: str) -> Head:
        """Take a note apart; raise ``BrokenHeadError`` if it is none."""
        found = _NOTE.fullmatch(note)
        if found is None:
            raise BrokenHeadError("this is no note of a tree head")
        removed = None
        if found["period"]:
            removed = Removed(found["period"], int(found["rows"]), bytes.fromhex(found["removed_root"]))
        adds = PublicKey(base64.b64decode(found["public"])) if found["public"] else None
        if adds is not None and adds.id != found["added"]:
            raise BrokenHeadError("the added key does not have the id that the note gives it")
        return cls(
            origin=found["origin"],
            size=int(found["size"]),
            root=base64.b64decode(found["root"]),
            number=int(found["number"]),
            previous=found["previous"],
            time=found["time"],
            key=found["key"],
            adds=adds,
            removed=removed,
        )


class SignedHead(Struct, frozen=True):
    """A head as it was published."""

    head: Head
    note: str
    signature: bytes

    @classmethod
    def sign(cls, head: Head, key: SigningKey) -> SignedHead:
        """Return the head, signed."""
        note = head.note()
        return cls(head, note, key.sign(note))

    @classmethod
    def from_line(cls, line: bytes) -> SignedHead:
        """Return the head of one line of a file; raise ``BrokenHeadError`` if it is none."""
        try:
            told = json.loads(line)
            note, signature = told["note"], base64.b64decode(told["signature"], validate=True)
            return cls(Head.parse(note), note, signature)
        except BrokenHeadError:
            raise
        except (ValueError, KeyError, TypeError):
            raise BrokenHeadError("this line is no signed tree head") from None

    def line(self) -> bytes:
        """Return the line of a file, without its end."""
        told = {"note": self.note, "signature": base64.b64encode(self.signature).decode()}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """What the next head says of this one."""
        return hashlib.sha256(self.note.encode()).hexdigest()


class HeadChain(Struct):
    """Reads heads one by one, and refuses one that does not follow on the last.

    ``pinned`` is the key that the reader has from elsewhere. A signature is checked where a key is introduced and at the end
    (``finish``): all other notes are held by the hashes from there. ``count`` heads were read, the ``last`` is the latest.
    """

    pinned: PublicKey
    last: SignedHead | None = None
    count: int = 0
    removed: dict[str, Removed] = field(default_factory=dict)
    _keys: dict[str, PublicKey] = field(default_factory=dict)
    _key: str | None = None
    _anchored: bool = False

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The keys that the heads vouch for, once all were read."""
        return tuple(self._keys.values())

    def read(self, lines: Iterable[bytes]) -> Iterator[Head]:
        """Yield the heads of the lines; raise ``BrokenHeadError`` at the first that is wrong, and at the end."""
        self._keys[self.pinned.id] = self.pinned
        for place, line in enumerate(lines, 1):
            try:
                signed = SignedHead.from_line(line)
                self._take(signed)
            except BrokenHeadError as fault:
                known = self.last.head.number if self.last else 0
                raise BrokenHeadError(f"line {place} of the heads, after head {known}: {fault}") from None
            yield signed.head
        self.finish()

    def finish(self) -> None:
        """Check the last signature; raise ``BrokenHeadError`` if the pinned key vouches for nothing here."""
        if self.last is None:
            raise BrokenHeadError("there are no heads")
        self._check(self.last)
        if not self._anchored:
            raise BrokenHeadError(f"no head is signed by the key {self.pinned.id}")

    def _take(self, signed: SignedHead) -> None:
        head = signed.head
        if self.last is not None:
            before = self.last.head
            if head.number != before.number + 1 or head.previous != self.last.digest or head.origin != before.origin:
                raise BrokenHeadError(f"head {head.number} does not follow on head {before.number}")
            if head.size < before.size:
                raise BrokenHeadError(f"head {head.number} is of a smaller tree than the one before")
        elif head.number == 1 and (head.previous != NOTHING_BEFORE or head.adds is None or head.adds.id != head.key):
            raise BrokenHeadError("the first head must add the key that signs it")
        if self._key is not None and head.key != self._key:
            raise BrokenHeadError(f"head {head.number} is signed by a key that was not its turn: {head.key}")
        if head.adds is not None:
            if head.number == 1:
                self._keys[head.adds.id] = head.adds
            self._check(signed)
            self._keys[head.adds.id] = head.adds
        if head.removed is not None:
            self.removed[head.removed.period] = head.removed
        self._key = head.adds.id if head.adds else head.key
        self.last = signed
        self.count += 1

    def _check(self, signed: SignedHead) -> None:
        """Check the signature, unless it is of a time before the pinned key of whose keys nothing is known."""
        key = self._keys.get(signed.head.key)
        if key is None:
            return
        if not key.verify(signed.signature, signed.note):
            raise BrokenHeadError(f"head {signed.head.number} is not signed by the key {signed.head.key}")
        self._anchored = self._anchored or key == self.pinned
