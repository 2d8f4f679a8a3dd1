"""A database that is reached by TLS alone: what fibres ask goes by the driver, and nothing else changes."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from urllib.parse import quote

import pymongo
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fhir_dmp.clock import RandomIds, SystemClock
from fhir_dmp.errors import Unavailable
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import STAMP, Change, Commit, Event
from fhir_dmp.stores.mongo import lines, mongod
from fhir_dmp.stores.mongo.store import MongoStore
from tests.fibres import run
from tests.journeys.conftest import free_port

IDS, CLOCK = RandomIds(), SystemClock()
BODY = b'{"resourceType":"Basic","meta":{"lastUpdated":"' + STAMP + b'"}}'


def certificate(path):
    """Write a key of 127.0.0.1 with its certificate, which it has signed itself, and return where they are."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mongod")]), datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(own + signed.public_bytes(Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """A replica set of one that takes no connection without TLS."""
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    pem = certificate(folder / "mongod.pem")
    (folder / "data").mkdir()
    command = [
        mongod.find_mongod(),
        *("--dbpath", folder / "data", "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
        *("--replSet", "rs0", "--logpath", folder / "log", "--wiredTigerCacheSizeGB", "0.25"),
        *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", pem, "--tlsCAFile", pem),
        "--tlsAllowConnectionsWithoutCertificates",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    own = f"mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={quote(str(pem), safe='')}"
    try:
        with pymongo.MongoClient(f"{own}&directConnection=true", serverSelectionTimeoutMS=60_000) as client:
            members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
            client.admin.command({"replSetInitiate": {"_id": "rs0", "members": members}})
        with pymongo.MongoClient(f"{own}&replicaSet=rs0", serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
        yield f"{own}&replicaSet=rs0"
    finally:
        process.terminate()
        process.wait(60)


def test_fibres_are_served_by_a_database_that_speaks_tls(uri, monkeypatch):
    """Reads, writes and events of many at once: each connection is the driver's, and the loop listens to none."""
    listened = []
    genuine = lines._Line.__init__
    monkeypatch.setattr(lines._Line, "__init__", lambda *given: listened.append(1) or genuine(*given))
    store = MongoStore.connect(uri, "x", clock=CLOCK, settings=Settings())

    def serves(number):
        ref, event = Ref("Basic", str(number)), Event(IDS.new(), CLOCK.micros(), b'{"act":"read"}', {"t": [], "pt": []})
        store.commit(Commit((Change(ref, 1, None, BODY, {"t": ["Basic"]}),)))
        store.record(event)
        return store.find_current(ref).version, store.find_event(event.id).body

    try:
        served = run(*[lambda number=number: serves(number) for number in range(20)])
    finally:
        store.close()

    assert served == [(1, b'{"act":"read"}')] * 20
    assert listened == []


def test_a_certificate_of_somebody_else_is_not_trusted(uri, tmp_path):
    """The address names who is, and nothing is sent to another."""
    other = quote(str(certificate(tmp_path / "other.pem")), safe="")
    with pytest.raises(Unavailable):
        MongoStore.connect(
            f"{uri.partition('tlsCAFile=')[0]}tlsCAFile={other}&replicaSet=rs0", "x", clock=CLOCK, settings=Settings()
        )
