"""The benchmark counts what is true: good answers alone."""

from __future__ import annotations

import importlib.util

import pytest

from tests.architecture.tree import ROOT


@pytest.fixture(scope="module")
def wrk():
    """Return the module that asks and reads wrk; scripts are no package."""
    spec = importlib.util.spec_from_file_location("bench_wrk", ROOT / "scripts" / "bench_wrk.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "bench_wrk", module)
        spec.loader.exec_module(module)
        yield module


def test_refused_answers_are_not_counted_as_work(wrk):
    """A server that answers 404 very fast has done nothing."""
    told = "Running 3s test\nRESULT requests=100 micros=2000000 p50=1500 p99=9000 refused=40 broken=2\n"

    counted = wrk.read(told)

    assert counted.good == 60
    assert (counted.refused, counted.broken) == (40, 2)
    assert (counted.seconds, counted.p50, counted.p99) == (2.0, 1.5, 9.0)


def test_silence_of_the_load_generator_is_a_fault_and_no_zero(wrk):
    """No figure is made of nothing."""
    with pytest.raises(SystemExit, match="nothing that can be read"):
        wrk.read("unable to connect to 127.0.0.1")


def test_a_load_asks_for_each_of_its_paths_with_its_headers(wrk):
    """Bodies with quotes and line ends travel whole."""
    load = wrk.Load("create", ["/fhir/Observation"], ['{"a": "é\\n]==]"}'.encode()])

    lua = wrk.script(load, {"Authorization": "Bearer x.y"})

    assert 'wrk.format("POST"' in lua
    assert '["Authorization"]="Bearer x.y"' in lua
    assert r'"{\"a\": \"é\\n]==]\"}"' in lua
