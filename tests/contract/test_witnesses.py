"""Witnesses that really answer: an endpoint, and a timestamp authority by openssl; and those who do not."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.witnesses import ReceiptsFile, WitnessError, witnesses
from fhir_dmp.service.witnessing import Witnessing
from tests.sealed_world import sealed_world

TSA = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@contextmanager
def answering(answer):
    """Serve on loopback: ``answer`` makes status and body of what was posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            status, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def certificate(folder, name, issuer=None):
    """Write a certificate and its key; return them. Without an issuer it is a root."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing = issuer or (None, key)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if signer is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
    signed = made.sign(signing, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return signed, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A timestamp authority: ``openssl ts`` behind HTTP, with a root of its own."""
    folder = tmp_path_factory.mktemp("tsa")
    certificate(folder, "tsa", certificate(folder, "root"))
    certificate(folder, "stranger")
    (folder / "serial").write_text("01")
    (folder / "tsa.cnf").write_text(TSA.format(folder=folder))

    def stamp(query):
        (folder / "query.tsq").write_bytes(query)
        words = ["openssl", "ts", "-reply", "-config", folder / "tsa.cnf", "-queryfile", folder / "query.tsq"]
        done = subprocess.run([*words, "-out", folder / "answer.tsr"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return 200, (folder / "answer.tsr").read_bytes()

    with answering(stamp) as url:
        yield folder, url


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A log with a sealed head."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        made.store, made.leader = made.writer(), made.sealer()
        made.write(made.store)
        made.leader.tick()
        made.receipts = ReceiptsFile(tmp_path / "heads.receipts")
        yield made


def witnessing(world, *outside, leader=None):
    """Return what gives heads to these witnesses."""
    return Witnessing(leader or world.leader, world.ledger(), outside, world.receipts, world.clock)


def receipts(world):
    """Return the receipts that are kept."""
    if not world.receipts.path.exists():
        return []
    return [json.loads(line) for line in world.receipts.path.read_text().splitlines()]


def newest(world):
    return SignedHead.from_line(world.ledger().head())


def test_an_endpoint_is_given_the_head_as_it_was_published(world):
    """It can check it by itself; its answer is the receipt."""
    seen = []
    with answering(lambda body: (seen.append(body), (201, b"receipt 7"))[1]) as url:
        (endpoint,) = witnesses(url, "", "")
        witnessing(world, endpoint).tick()
        witnessing(world, endpoint).tick()

    assert seen == [newest(world).line() + b"\n"]
    assert world.ledger().witnessed() == newest(world).head.number
    (told,) = receipts(world)
    assert base64.b64decode(told["receipt"]) == b"receipt 7"
    assert told["head"] == newest(world).head.number


def test_a_timestamp_authority_vouches_for_the_moment(world, authority):
    """Its answer is checked against its root before it counts, and openssl finds it good too."""
    folder, url = authority
    (tsa,) = witnesses("", url, str(folder / "root.pem"))
    witnessing(world, tsa).tick()
    (told,) = receipts(world)
    (folder / "kept.tsr").write_bytes(base64.b64decode(told["receipt"]))
    (folder / "note").write_text(newest(world).note)
    words = [
        "openssl",
        "ts",
        "-verify",
        "-in",
        "kept.tsr",
        "-data",
        "note",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "tsa.pem",
    ]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)

    assert "Verification: OK" in done.stdout + done.stderr
    assert world.ledger().witnessed(url) == newest(world).head.number


def test_a_timestamp_by_a_stranger_does_not_count(world, authority):
    """Another root, an answer for another note, an answer that is none."""
    folder, url = authority
    (stranger,) = witnesses("", url, str(folder / "stranger.pem"))
    with pytest.raises(WitnessError, match="no good timestamp"):
        witnessing(world, stranger).tick()
    old = (folder / "answer.tsr").read_bytes()
    for body in (old, b"hello"):
        with answering(lambda query, body=body: (200, body)) as other:
            (liar,) = witnesses("", other, str(folder / "root.pem"))
            with pytest.raises(WitnessError, match="no good timestamp"):
                witnessing(world, liar).tick()

    assert world.ledger().witnessed() == 0
    assert receipts(world) == []


@pytest.mark.parametrize("answer", [(500, b""), (302, b""), (200, b"x" * 100_000)])
def test_a_witness_that_refuses_is_told_and_the_others_are_asked(world, answer):
    """One that is away holds up nobody."""
    with answering(lambda body: answer) as bad, answering(lambda body: (200, b"")) as good:
        outside = (*witnesses(bad, "", ""), *witnesses("http://127.0.0.1:9/", "", ""), *witnesses(good, "", ""))
        with pytest.raises(WitnessError, match=r"127\.0\.0\.1:9"):
            witnessing(world, *outside).tick()

    assert world.ledger().witnessed(good) == newest(world).head.number
    assert world.ledger().witnessed(bad) == 0


def test_only_the_one_who_leads_asks(world):
    """Workers beside it keep still."""
    with answering(lambda body: (200, b"")) as url:
        witnessing(world, *witnesses(url, "", ""), leader=world.sealer()).tick()

    assert world.ledger().witnessed() == 0


def test_a_witness_is_reached_by_https():
    """What others can answer for it on the way is no witness; a timestamp that nobody checks is none."""
    with pytest.raises(ValueError, match="https"):
        witnesses("http://witness.example/", "", "")
    with pytest.raises(ValueError, match="DMP_AUDIT_TIMESTAMP_ROOTS"):
        witnesses("", "https://tsa.example/", "")
