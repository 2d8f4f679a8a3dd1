"""What a read costs without its event is measured on the same server, in the same surroundings: the log alone is the difference."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import requests

from tests.architecture.tree import ROOT

PATIENT = {"resourceType": "Patient", "name": [{"family": "Mesure"}]}
ITS_OWN = {"x-request-id", "date"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The benchmark's server, and the one beside it that keeps no events of reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        import bench_target  # noqa: PLC0415 - scripts are no package

    folder, shape = tmp_path_factory.mktemp("measured"), bench_target.Shape(workers=1, threads=8)
    with (
        bench_target.server(folder, shape, folder / "bench.log") as audited,
        bench_target.unaudited(folder, shape, folder / "unaudited.log", audited) as silent,
    ):
        yield audited, silent


def workers(target):
    """Return the processes that answer."""
    return [each for each in target.process.children() if "spawn_main" in " ".join(each.cmdline())]


def headers_of(answer):
    """Return the headers that two answers to one question have in common."""
    return frozenset((name, value) for name, value in answer.headers.items() if name.lower() not in ITS_OWN)


def test_both_answer_a_read_alike_and_one_alone_leaves_its_event(both):
    """The same bytes, status and headers, with the token of the one."""
    audited, silent = both
    sent = audited.headers()
    made = requests.post(f"{audited.url}/fhir/Patient", json=PATIENT, headers=sent, timeout=30).json()
    path = f"/fhir/Patient/{made['id']}"
    told, untold = (
        [requests.get(f"{each.url}{path}", headers=sent, timeout=30) for _ in range(count)]
        for each, count in ((audited, 3), (silent, 5))
    )
    log = f"{audited.url}/fhir/AuditEvent?date=ge2000&subtype=read&entity=Patient/{made['id']}&_summary=count"
    events = requests.get(log, headers=audited.another("auditor"), timeout=30).json()

    assert {each.status_code for each in (*told, *untold)} == {200}
    assert {each.content for each in told} == {each.content for each in untold}
    assert len({headers_of(each) for each in (*told, *untold)}) == 1
    assert events["total"] == 3


def test_both_run_in_the_same_surroundings_and_count_apart(both):
    """The same environment and bounds of the workers, but for the folder of their counts, which both have."""
    [one], [other] = map(workers, both)
    here, there = one.environ(), other.environ()
    differs = {name for name in {*here, *there} if here.get(name) != there.get(name)}

    assert differs == {"PROMETHEUS_MULTIPROC_DIR"}
    assert one.rlimit(psutil.RLIMIT_NOFILE) == other.rlimit(psutil.RLIMIT_NOFILE)
    for each in (here, there):
        assert list(Path(each["PROMETHEUS_MULTIPROC_DIR"]).glob("counter_*.db"))
