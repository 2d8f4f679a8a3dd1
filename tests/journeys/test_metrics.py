"""What the server costs and does is told on a port of its own, in numbers and in no clinical word."""

from __future__ import annotations

import re
import time

import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from fhir_dmp.service.counting import WRITE_SECONDS
from fhir_dmp.settings import Settings
from tests.journeys.conftest import free_port, start, stop


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A server that tells its metrics, and where."""
    port = free_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("DMP_METRICS_PORT", str(port))
    server = start(tmp_path_factory.mktemp("watched"))
    patch.undo()
    server.register("ehr-one")
    yield server, f"http://127.0.0.1:{port}/metrics"
    stop(server)


def numbers(text):
    """Return each line's name with labels, and its number."""
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


def once_told(metrics, name):
    """Return the page once it tells this number: acts are written down about once a second, by each worker."""
    ends = time.monotonic() + 30
    while name not in requests.get(metrics, timeout=30).text:
        assert time.monotonic() < ends
        time.sleep(0.1)
    time.sleep(2 * WRITE_SECONDS)
    return requests.get(metrics, timeout=30).text


def test_acts_and_the_growth_of_the_log_are_told_of_all_workers(watched):
    """By name and outcome; bytes of rows, and their mean and size on disk by month."""
    server, metrics = watched
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {server.token('ehr-one')}"
    made = http.post(
        f"{server.fhir}/Patient", json={"resourceType": "Patient", "name": [{"family": "Clandestin"}]}
    ).json()
    for _ in range(20):
        assert requests.get(f"{server.fhir}/Patient/{made['id']}", headers=http.headers, timeout=30).status_code == 200
    http.get(f"{server.fhir}/Patient?family=Clandestin")
    http.get(f"{server.fhir}/Patient/absent")
    http.get(f"{server.fhir}/Patient/$clandestine-operation")
    text = once_told(metrics, 'dmp_acts_total{act="other",outcome="4"}')
    told = numbers(text)

    assert told['dmp_acts_total{act="read",outcome="0"}'] == 20
    assert told['dmp_acts_total{act="read",outcome="4"}'] == 1
    assert told['dmp_acts_total{act="create",outcome="0"}'] == 1
    assert told['dmp_acts_total{act="search-type",outcome="0"}'] == 1
    assert told['dmp_acts_total{act="other",outcome="4"}'] == 1
    assert told['dmp_log_rows_total{of="reads"}'] >= 23
    assert told['dmp_waiting{of="reads"}'] == 0
    assert told["dmp_database_up"] == 1
    [(month, rows)] = [(name, value) for name, value in told.items() if name.startswith("dmp_log_month_rows")]
    assert rows >= 25
    assert 300 < told[month.replace("rows", "bytes_per_row")] <= 1024
    assert told[month.replace("rows", "disk_bytes")] > 0
    assert "landestin" not in text
    assert made["id"] not in text


def test_metrics_are_not_beside_the_records(watched):
    """The port that serves records tells none."""
    server, _ = watched

    assert requests.get(f"{server.url}/metrics", timeout=30).status_code == 404
    assert requests.get(f"{server.fhir}/metrics", timeout=30).status_code in (401, 404)


def test_a_worker_that_ends_writes_down_what_it_has_counted(tmp_path):
    """Told to stop at once after its answers, it has told each of them."""
    server = start(tmp_path)
    try:
        server.register("ehr-one")
        sent = {"Authorization": f"Bearer {server.token('ehr-one')}"}
        for _ in range(30):
            assert requests.get(f"{server.fhir}/Patient/absent", headers=sent, timeout=30).status_code == 404
    finally:
        stop(server)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(Settings(data_dir=tmp_path).metrics_dir))

    assert registry.get_sample_value("dmp_acts_total", {"act": "read", "outcome": "4"}) == 30
