"""Files of records brought in by ``fhir-dmp load`` on a real MongoDB: every form, broken ones, cut ones, and the same again."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pymongo
import pytest
from click.testing import CliRunner

from fhir_dmp.cli import main
from fhir_dmp.errors import Unavailable
from fhir_dmp.fhir import codec
from fhir_dmp.service.load import Door, _in_order, load_unit
from fhir_dmp.service.load_files import Unit
from fhir_dmp.stores.mongo.store import MongoStore
from tests.journeys.conftest import COMMAND
from tests.log_rows import rows_of
from tests.oauth_world import jwks, key_pair

SYNTHEA = Path(__file__).parents[3] / "shared" / "data" / "synthea" / "blaze-100"
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


class Place:
    """A server's database, and the command line that works on it."""

    def __init__(self, folder, database):
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir()
        self.database = database

    def run(self, *words):
        return CliRunner().invoke(main, [*words, "--data-dir", str(self.folder)])

    def load(self, *paths, client="loader"):
        return self.run("load", "--as", client, *map(str, paths or (self.files,)))

    def write(self, name, content, pack=bytes):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (self.files / name).write_bytes(pack(raw))
        return self.files / name

    def stored(self, kind):
        """Return the present resources of a type by id, and the count of superseded versions."""
        rows = list(self.database["current"].find({"ty": kind}))
        return {row["_id"]: json.loads(row["b"]) for row in rows}, self.database["versions"].count_documents(
            {"ty": kind}
        )


@pytest.fixture
def place(mongodb_uri, database_name, tmp_path, monkeypatch):
    """A database of its own, named to the command line by its settings, with a client that may write all."""
    monkeypatch.setenv("DMP_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("DMP_MONGODB_DATABASE", database_name)
    monkeypatch.setenv("DMP_LOG_LEVEL", "error")
    keys = tmp_path / "keys.json"
    keys.write_text(jwks(key_pair()))
    with pymongo.MongoClient(mongodb_uri) as client:
        made = Place(tmp_path, client[database_name])
        done = made.run(
            "client", "add", "loader", "--role", "ehr", "--scope", "system/*.cruds", "--jwks", str(keys),
            "--organization", "urn:x|1",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        yield made


def patient(own=None, family="Durand", **more):
    return {"resourceType": "Patient", **({"id": own} if own else {}), "name": [{"family": family}], **more}


def observation(subject, **more):
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": code,
        "subject": {"reference": subject},
        **more,
    }


def posted(resource, **request):
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"], **request}}


def bundle(kind, *entries):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def lines(count, start=0):
    return b"".join(json.dumps(patient(f"p{number}")).encode() + b"\n" for number in range(start, start + count))


def linked(kind):
    """Return a bundle of a patient and an observation of hers, named by urn:uuid."""
    url = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    entries = [posted(patient()), posted(observation(url))]
    entries[0]["fullUrl"] = url
    return bundle(
        kind, *([{k: v for k, v in e.items() if k != "request"} for e in entries] if kind == "collection" else entries)
    )


@pytest.mark.parametrize("kind", ["transaction", "collection"])
def test_a_bundle_of_linked_resources_is_loaded_with_its_links(place, kind):
    """References by urn:uuid become references to what was stored, in a collection too."""
    place.write("one.json", linked(kind))

    done = place.load()

    assert done.exit_code == 0, done.output
    assert "2 resources in 1 bundles; 0 were loaded before; 0 failed." in done.output
    (owner,), (result,) = place.stored("Patient")[0], place.stored("Observation")[0].values()
    assert result["subject"]["reference"] == owner


def test_a_batch_is_loaded_entry_by_entry(place):
    """What an entry asks is done: create and update."""
    put = {"resource": patient("own"), "request": {"method": "PUT", "url": "Patient/own"}}
    place.write("batch.json", bundle("batch", posted(patient()), put))

    done = place.load()

    assert "2 resources in 1 bundles" in done.output
    stored, superseded = place.stored("Patient")
    assert len(stored) == 2
    assert "Patient/own" in stored
    assert superseded == 0


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("kind", ["json", "ndjson"])
def test_every_packing_is_opened(place, kind, packed):
    """A single resource as .json, several as .ndjson, plain and in .gz .bz2 .xz."""
    content = patient("p0") if kind == "json" else lines(3) + b"\n\n"
    place.write(f"some.{kind}{packed}", content, PACKERS[packed])

    done = place.load()

    assert done.exit_code == 0, done.output
    assert len(place.stored("Patient")[0]) == (1 if kind == "json" else 3)


def test_a_folder_is_searched_to_its_depth_and_other_files_are_left_alone(place):
    """Folders in folders count; a README does not."""
    (place.files / "below").mkdir()
    place.write("below/a.json", patient("a"))
    place.write("b.ndjson.gz", lines(1), gzip.compress)
    place.write("README.txt", b"no record")

    done = place.load()

    assert done.exit_code == 0, done.output
    assert set(place.stored("Patient")[0]) == {"Patient/a", "Patient/p0"}


def test_ndjson_longer_than_a_group_is_loaded_whole(place):
    """450 lines are three transactions; decimals keep their digits."""
    last = json.dumps(observation("Patient/p1", id="o")).replace('"final"', '"final","valueQuantity":{"value":36.70}')
    place.write("many.ndjson", lines(450) + last.encode())

    done = place.load()

    assert "451 resources in 3 bundles; 0 were loaded before; 0 failed." in done.output
    assert len(place.stored("Patient")[0]) == 450
    assert b'"value":36.70' in place.database["current"].find_one({"_id": "Observation/o"})["b"]


def test_a_repeated_load_changes_nothing(place):
    """The second time everything is passed over: no duplicates, no new versions."""
    place.write("one.json", linked("transaction"))
    place.write("batch.json", bundle("batch", posted(patient()), posted(patient())))
    place.write("many.ndjson", lines(250))
    place.load()
    before = place.stored("Patient"), place.stored("Observation")

    again = place.load()

    assert "0 resources in 0 bundles; 4 were loaded before; 0 failed." in again.output
    assert (place.stored("Patient"), place.stored("Observation")) == before
    assert before[0][1] == 0


def truncated(raw):
    return gzip.compress(raw)[:-40]


@pytest.mark.parametrize(
    ("name", "content", "pack", "said"),
    [
        ("cut.json", b'{"resourceType": "Patient", "name": [', bytes, "no whole JSON document"),
        ("cut.json.gz", b'{"resourceType": "Patient"}' * 99, lambda raw: gzip.compress(raw)[:-9], "cannot be read to its end"),
        ("fake.json.gz", b"no gzip at all", bytes, "cannot be read to its end"),
        ("fake.json.xz", b"no xz at all", bytes, "cannot be read to its end"),
        ("fake.json.bz2", b"no bz2 at all", bytes, "cannot be read to its end"),
        ("other.json", b'{"a": 1}', bytes, "no resourceType"),
        ("empty.json", b"", bytes, "no whole JSON document"),
        ("wrong.json", patient(gender=3), bytes, "Patient.gender"),
        ("holes.json", bundle("collection", {}), bytes, "Bundle.entry[0] There is no resource"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_its_fault_and_stops_no_other(place, name, content, pack, said):
    """The others are loaded, the fault is one line, and the exit code tells."""
    place.write(name, content, pack)
    place.write("a.json", patient("a"))
    place.write("z.json", patient("z"))

    done = place.load()

    assert done.exit_code == 1
    (told,) = [line for line in done.output.splitlines() if line.startswith(f"{name}: ")]
    assert said in told
    assert "2 resources in 2 bundles; 0 were loaded before; 1 failed." in done.output
    assert "run the same command again" in done.output
    assert set(place.stored("Patient")[0]) == {"Patient/a", "Patient/z"}


def test_a_broken_line_is_named_by_its_number(place):
    """Its group of lines waits, the other groups are loaded; the mended file brings the rest, once."""
    good = lines(450).splitlines(keepends=True)
    broken = [*good[:249], b'{"resourceType": "Pat\n', *good[250:]]
    place.write("many.ndjson", b"".join(broken))

    first = place.load()
    loaded = len(place.stored("Patient")[0])
    place.write("many.ndjson", b"".join(good))
    second = place.load()

    assert first.exit_code == 1
    assert "many.ndjson lines 201-400: line 250: " in first.output
    assert loaded == 250
    assert "200 resources in 1 bundles; 2 were loaded before; 0 failed." in second.output
    stored, superseded = place.stored("Patient")
    assert (len(stored), superseded) == (450, 0)


def test_an_invalid_resource_of_ndjson_is_named_by_its_line(place):
    """What the server says of an entry is said of the line."""
    place.write("some.ndjson", lines(2) + b"\n" + json.dumps(patient("x", gender=3)).encode())

    done = place.load()

    assert "some.ndjson lines 1-4: line 4: Patient.gender must be" in done.output


def test_a_packed_ndjson_file_cut_in_the_middle_is_loaded_as_far_as_its_groups_are_whole(place):
    """The intact file brings the rest later, and nothing twice."""
    whole = b"".join(
        os.urandom(24).hex().join(['{"resourceType":"Patient","id":"', '"}\n']).encode() for _ in range(650)
    )
    packed = gzip.compress(whole)
    place.write("many.ndjson.gz", packed[: len(packed) // 2])

    first = place.load()
    loaded = len(place.stored("Patient")[0])
    place.write("many.ndjson.gz", packed)
    second = place.load()

    assert first.exit_code == 1
    assert "cannot be read to its end" in first.output
    assert loaded in (200, 400)
    assert second.exit_code == 0, second.output
    stored, superseded = place.stored("Patient")
    assert (len(stored), superseded) == (650, 0)


def test_a_refused_entry_of_a_batch_is_told_and_tried_again_alone(place):
    """The others are loaded; with the next load only the refused one is asked again."""
    place.write("batch.json", bundle("batch", posted(patient()), posted(patient(gender=3)), posted(patient())))

    first = place.load()
    second = place.load()

    for done in (first, second):
        assert done.exit_code == 1
        assert "1 of 3 entries were refused, the others are loaded. Entry 1: Patient.gender" in done.output
    assert "2 resources in 0 bundles" in first.output
    assert "0 resources in 0 bundles" in second.output
    assert len(place.stored("Patient")[0]) == 2


def test_a_batch_broken_half_way_is_finished_without_repeating_its_entries(place, monkeypatch):
    """The database goes away after the third entry; the next load does the remaining four, and each has one event."""
    place.write("batch.json", bundle("batch", *(posted(patient(family=f"F{number}")) for number in range(7))))
    commit, done = MongoStore.commit, []

    def fail(store, commit_):
        if commit_.changes and len(done) == 3:
            raise Unavailable("The database does not answer.")
        done.append(commit_)
        return commit(store, commit_)

    with monkeypatch.context() as patch:
        patch.setattr(MongoStore, "commit", fail)
        patch.setattr("fhir_dmp.service.load.PATIENCE_SECONDS", 0.3)
        first = place.load()
    between = len(place.stored("Patient")[0])
    second = place.load()
    third = place.load()

    assert first.exit_code == 1
    assert "The database does not answer. Run the same command again later" in first.output
    assert between == 3
    assert "4 resources in 1 bundles; 0 were loaded before; 0 failed." in second.output
    assert "1 were loaded before" in third.output
    stored, superseded = place.stored("Patient")
    assert sorted(each["name"][0]["family"] for each in stored.values()) == [f"F{number}" for number in range(7)]
    assert superseded == 0
    assert len(creations(place)) == 7


def creations(place):
    """Return the log's rows of creations that were done."""
    log = place.database.client[f"{place.database.name}_log"]
    return [row for row in rows_of(log) if {"s=create", "o=0"} <= set(row.terms["u"])]


def test_an_outage_in_the_middle_is_waited_for(place, monkeypatch):
    """One answer of 503 is no failure: the bundle is sent again, and its batch goes on where it was."""
    place.write("batch.json", bundle("batch", *(posted(patient()) for _ in range(4))))
    commit, calls = MongoStore.commit, []

    def stumble(store, commit_):
        calls.append(commit_)
        if len(calls) == 3:
            raise Unavailable("The database does not answer.")
        return commit(store, commit_)

    monkeypatch.setattr(MongoStore, "commit", stumble)
    done = place.load()

    assert done.exit_code == 0, done.output
    assert len(place.stored("Patient")[0]) == 4


def test_a_commit_whose_acknowledgement_was_lost_is_not_repeated(place, monkeypatch):
    """The server stored the bundle and could not say so: its mark says it to the next attempt."""
    place.write("one.json", linked("transaction"))
    commit, calls = MongoStore.commit, []

    def forget(store, commit_):
        calls.append(commit(store, commit_))
        raise Unavailable("Whether the change was stored is not known yet.")

    monkeypatch.setattr(MongoStore, "commit", forget)
    done = place.load()

    assert done.exit_code == 0, done.output
    assert len(calls) == 1
    assert len(place.stored("Patient")[0]) == len(place.stored("Observation")[0]) == 1


@contextmanager
def what_the_dead_held_let_go_after(seconds, admin):
    """MongoDB ends the transaction of a killed process a minute after it began; a test has less time, and who empties its database too."""
    before = admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)["was"]
    try:
        yield
    finally:
        admin.command("setParameter", 1, transactionLifetimeLimitSeconds=before)


def test_a_killed_load_goes_on_where_it_was(place):
    """kill -9 in the middle, then the same command: every record once, in its first version."""
    for number in range(12):
        entries = [posted(patient(family=f"B{number}E{each}")) for each in range(40)]
        place.write(f"b{number:02}.json", bundle("batch" if number % 2 else "transaction", *entries))
    command = [*COMMAND, "load", "--as", "loader", str(place.files), "--threads", "2", "--data-dir", str(place.folder)]
    with what_the_dead_held_let_go_after(5, place.database.client.admin):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while place.database["current"].count_documents({"ty": "Patient"}) < 90:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        between = len(place.stored("Patient")[0])
        again = place.load()

    assert 90 <= between < 480
    assert again.exit_code == 0, again.output
    stored, superseded = place.stored("Patient")
    families = {each["name"][0]["family"] for each in stored.values()}
    assert (len(stored), len(families), superseded) == (480, 480, 0)


def test_memory_does_not_grow_with_the_files(place):
    """Only a few bundles are read ahead of those that are under way."""
    read, done, furthest = [], [], []

    def units():
        for number in range(60):
            read.append(number)
            yield Unit(f"{number}", lambda: b'{"resourceType":"Bundle","type":"transaction"}')

    door = Door(lambda call, context: None, lambda: None, lambda mark: True)
    with ThreadPoolExecutor(2) as pool:
        for outcome in _in_order(pool, lambda unit: load_unit(unit, door), units(), 4):
            furthest.append(len(read) - len(done))
            done.append(outcome)

    assert len(done) == 60
    assert max(furthest) <= 4


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason=f"no Synthea bundles at {SYNTHEA}")
def test_synthea_bundles_are_loaded_whole_and_found_by_their_links(place):
    """Hospitals and practitioners (batches), then the three smallest patients (transactions); a second load passes over all."""
    shared = sorted(SYNTHEA.glob("0-*"))
    records = sorted(
        (path for path in SYNTHEA.glob("*.bz2") if path not in shared), key=lambda path: path.stat().st_size
    )
    files = [*records[:3], *shared]
    expected = sum(len(codec.loads_object(bz2.decompress(path.read_bytes()))["entry"]) for path in files)

    first = place.load(*files)
    second = place.load(*files)

    assert first.exit_code == 0, first.output
    assert f" in {len(files)} bundles; 0 were loaded before; 0 failed." in first.output
    count = place.database["current"].count_documents({})
    assert count <= expected
    assert len(place.stored("Patient")[0]) == 3
    encounters = place.stored("Encounter")[0].values()
    people = place.stored("Practitioner")[0]
    assert {each["participant"][0]["individual"]["reference"] for each in encounters} <= set(people)
    assert f"0 resources in 0 bundles; {len(files)} were loaded before; 0 failed." in second.output
    assert place.database["current"].count_documents({}) == count
    assert place.database["versions"].count_documents({}) == 0


def test_an_unknown_client_is_named_with_the_way_to_register_it(place):
    """The error says which commands help."""
    place.write("a.json", patient("a"))

    done = place.load(client="nobody")

    assert done.exit_code == 1
    assert "fhir-dmp client list" in done.output
    assert "fhir-dmp client add" in done.output


def test_a_client_that_may_not_write_loads_nothing(place):
    """The load reaches no further than the scopes of the client."""
    keys = place.folder / "keys.json"
    place.run("client", "add", "reader", "--role", "ehr", "--scope", "system/*.rs", "--jwks", str(keys))
    place.write("a.json", patient("a"))

    done = place.load(client="reader")

    assert done.exit_code == 1
    assert "a.json: " in done.output
    assert place.stored("Patient")[0] == {}


def test_a_path_that_is_not_there_is_named(place):
    """Before anything is opened."""
    done = place.load(place.files / "nowhere.json")

    assert done.exit_code == 2
    assert "nowhere.json" in done.output
    assert "does not exist" in done.output


def test_a_folder_without_records_says_what_is_loaded(place):
    """An empty load is no success."""
    place.write("README.txt", b"no record")

    done = place.load()

    assert done.exit_code == 1
    assert ".ndjson" in done.output


@pytest.mark.parametrize("command", [(), ("load",), ("demo",)])
def test_help_teaches_by_an_example(command):
    """Each help holds a command line that can be typed as it stands."""
    done = CliRunner().invoke(main, [*command, "--help"])

    assert done.exit_code == 0
    assert f"  fhir-dmp {command[0] if command else 'client add'} " in done.output
