"""What somebody with all rights on the database does to the log, and what the verifier says of it with the public key alone."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from fhir_dmp.audit.asked import digest
from fhir_dmp.audit.entry import entry_of
from fhir_dmp.audit.keys import KeyFile
from fhir_dmp.audit.merkle import leaf_hash
from fhir_dmp.service.audit_verify import BrokenHeadError, lookers
from fhir_dmp.stores.mongo.packing import unpack


@pytest.fixture
def world(forty):
    """A log of two writers with forty sealed events under five heads."""
    return forty


def row(world, number, store=0):
    """Return a sealed row of one of the writers."""
    writer = sorted(world.rows.distinct("w"))[store]
    return world.rows.find_one({"w": writer, "n": number})


def only_finding(world):
    findings = world.verify().findings
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("left", [slice(-3), slice(1), slice(0)])
def test_an_event_that_cannot_be_unpacked_is_named(world, left):
    """A fault of a disk, or somebody's: by its place, and nothing that comes after it."""
    damaged = row(world, 7)
    world.rows.update_one({"_id": damaged["_id"]}, {"$set": {"b": damaged["b"][left]}})

    found = only_finding(world)
    assert found.kind == "altered"
    assert f"{damaged['w']}/{damaged['e']}/7" in found.text


def test_an_edited_event_is_named(world):
    """One byte of what happened."""
    edited = row(world, 7)
    world.rows.update_one({"_id": edited["_id"]}, {"$set": {"b": unpack(edited["b"]).replace(b"read", b"vead")}})

    found = only_finding(world)
    assert found.kind == "altered"
    assert edited["_id"] in found.text


def test_an_event_edited_with_its_hash_is_named(world):
    """Whoever knows how rows are chained makes the hash fit; the tree does not."""
    edited = row(world, 7)
    body = unpack(edited["b"]).replace(b"read", b"vead")
    digest = hashlib.sha256(edited["p"] + body).digest()
    world.rows.update_one({"_id": edited["_id"]}, {"$set": {"b": body, "h": digest}})

    assert edited["_id"] in world.verify().findings[0].text


def test_a_chain_forged_to_its_end_is_named_at_its_first_row(world):
    """All hashes after the edited row are made anew."""
    first = row(world, 7)
    last = first["p"]
    for each in world.rows.find({"w": first["w"], "n": {"$gte": 7}}).sort("n"):
        text = unpack(each["b"])
        body = text.replace(b"read", b"vead") if each["n"] == 7 else text
        digest = hashlib.sha256(last + body).digest()
        world.rows.update_one({"_id": each["_id"]}, {"$set": {"b": body, "p": last, "h": digest}})
        last = digest

    found = world.verify().findings[0]
    assert found.kind == "altered"
    assert first["_id"] in found.text


@pytest.mark.parametrize("change", [{"pt": []}, {"t": ["AuditEvent.action=D"]}, {"rec": 1}, {"more": 1}])
def test_an_event_that_is_hidden_from_searches_is_named(world, change):
    """What a row is found by is sealed too: patients, tokens, the moment, anything that is added."""
    hidden = row(world, 12, store=1)
    world.rows.update_one({"_id": hidden["_id"]}, {"$set": change})

    found = only_finding(world)
    assert found.kind == "altered"
    assert hidden["_id"] in found.text


@pytest.mark.parametrize("terms", [{"pt": []}, {"t": ["g=nobody"]}, {"more": 1}])
def test_an_event_that_its_writer_hid_from_searches_is_named_once_its_index_is_made_anew(world, terms):
    """Sealed as it was written, so that nothing was altered since: the row itself says what it must be found by."""
    hidden = world.event(**terms)
    world.stores[0].record(hidden)
    assert [finding.kind for finding in world.verify().findings] == ["misfiled"]
    world.leader.tick()
    assert world.verify().findings == []

    (found,) = world.verify(index=True).findings
    assert found.kind == "misfiled"
    assert hidden.id in found.text
    assert found.text.endswith(f": {next(iter(terms))}")


def test_an_event_whose_moment_is_not_that_of_its_row_is_named(world):
    """Searches by date go by it."""
    event = world.event()
    moved = replace(event, recorded=event.recorded + 1)
    world.stores[0].record(moved)

    (found,) = world.verify().findings
    assert found.text.endswith(": rec")


def test_an_event_whose_index_alone_was_altered_is_told_so(world):
    """What happened is whole; the patient it is found by is not."""
    hidden = row(world, 12)
    world.rows.update_one({"_id": hidden["_id"]}, {"$set": {"pt": ["Patient/other"]}})

    assert only_finding(world).text.endswith("is not found by what was sealed: pt")


@pytest.mark.parametrize("number", [1, 7, 20])
def test_several_processes_find_what_one_finds(world, monkeypatch, number):
    """Each looks through windows of its own; what is wrong in one is named as if it were read alone."""
    monkeypatch.setattr("fhir_dmp.audit.walk.WINDOW", 6)
    edited = row(world, number, store=1)
    with lookers(2) as looking:
        assert world.verify(None, looking, index=True).findings == []
        world.rows.update_one({"_id": edited["_id"]}, {"$set": {"b": unpack(edited["b"]).replace(b"read", b"vead")}})
        world.rows.delete_one({"_id": row(world, 15)["_id"]})

        told = world.verify(None, looking)
        assert told == world.verify()
        assert {finding.kind for finding in told.findings} == {"altered", "missing"}
        assert (told.leaves, told.proven, told.heads) == (40, 40, 5)


def test_what_lies_beside_an_event_can_be_taken_away_and_not_exchanged(world):
    """A row names what is sealed beside it by a digest: without it the row is whole, with another it is not."""
    secret = b"s" * 16 + b'{"reason":"x"}'
    event = world.event(digest(secret))
    world.stores[0].record(replace(event, secret=secret))
    world.leader.tick()
    assert world.found() == []
    world.rows.update_one({"_id": event.id}, {"$set": {"s": secret + b" "}})

    found = only_finding(world)
    assert found.kind == "altered"
    assert event.id in found.text
    world.rows.update_one({"_id": event.id}, {"$unset": {"s": 1}})
    assert world.found() == []


def test_a_deleted_event_is_named_by_its_place(world):
    """Which writer's, which epoch's, which number."""
    deleted = row(world, 9)
    world.rows.delete_one({"_id": deleted["_id"]})

    found = only_finding(world)
    assert found.kind == "missing"
    assert f"{deleted['w']}/{deleted['e']}/9" in found.text


def test_two_events_that_changed_places_are_named(world):
    """Their numbers swapped: each stands where the other was."""
    one, other = row(world, 4), row(world, 15)
    world.rows.update_one({"_id": one["_id"]}, {"$set": {"n": 1000}})
    world.rows.update_one({"_id": other["_id"]}, {"$set": {"n": 4}})
    world.rows.update_one({"_id": one["_id"]}, {"$set": {"n": 15}})

    findings = world.verify().findings
    assert [finding.kind for finding in findings] == ["reordered", "reordered"]
    assert other["_id"] in findings[0].text
    assert one["_id"] in findings[1].text


def test_an_inserted_event_of_an_invented_epoch_is_found(world):
    """Nobody registered it."""
    world.rows.insert_one({**row(world, 9), "_id": "invented", "e": "feedfeedfeed", "n": 1})

    found = only_finding(world)
    assert found.kind == "inserted"
    assert "feedfeedfeed" in found.text


def test_an_event_that_is_copied_into_another_month_is_named(world):
    """Numbers are unique in each month; across months the verifier counts."""
    copied = row(world, 9)
    rows = world.database[f"{world.name}_log"]["audit_2026_01"]
    rows.create_index([("w", 1), ("e", 1), ("n", 1)], unique=True)
    rows.insert_one({**copied, "_id": "copied"})

    found = only_finding(world)
    assert found.kind == "inserted"
    assert "copied" in found.text


def test_an_event_that_is_added_to_a_chain_without_following_it_is_named(world):
    """Numbered after the last one, with hashes of its own."""
    last = row(world, 20)
    world.rows.insert_one({**last, "_id": "added", "n": 21})

    found = only_finding(world)
    assert found.kind == "chain broken"
    assert "added" in found.text


def test_an_event_that_is_added_far_behind_a_chain_is_named_by_what_lacks_before_it(world):
    """Whole in itself, found by what it says, and never to be sealed: searches would show it for good."""
    last, event = row(world, 20), world.event()
    forged = {"_id": event.id, "rec": event.recorded, "b": event.body, **event.index, "w": last["w"], "e": last["e"]}
    linked = {"p": last["h"], "h": hashlib.sha256(last["h"] + event.body).digest()}
    world.rows.insert_one({**forged, **linked, "n": 1000})

    found = only_finding(world)
    assert found.kind == "missing"
    assert event.id in found.text
    assert f"{last['w']}/{last['e']}/21 " in found.text


def test_an_event_that_is_added_to_a_chain_that_was_closed_is_found(world):
    """It follows on the last one as if the writer had gone on."""
    world.stores[0].close()
    writer = next(iter(world.database[f"{world.name}_log"]["epochs"].find({"closed": {"$exists": True}})))["w"]
    last, event = world.rows.find_one({"w": writer, "n": 20}), world.event()
    forged = {"_id": event.id, "rec": event.recorded, "b": event.body, **event.index, "w": last["w"], "e": last["e"]}
    linked = {"p": last["h"], "h": hashlib.sha256(last["h"] + event.body).digest()}
    world.rows.insert_one({**forged, **linked, "n": 21})

    found = only_finding(world)
    assert found.kind == "inserted"
    assert "closed at number 20, and ends at 21" in found.text


def test_an_event_of_an_invented_kind_of_row_does_not_stop_the_verifier(world):
    """A row that lacks everything is an inserted one."""
    world.rows.insert_one({"_id": "nothing"})

    assert only_finding(world).kind == "inserted"


def test_a_tail_cut_from_rows_alone_is_named(world):
    """The leaves are there, the rows are not."""
    gone = row(world, 18)
    world.rows.delete_many({"w": gone["w"], "n": {"$gte": 18}})

    findings = world.verify().findings
    assert [finding.kind for finding in findings] == ["missing"] * 3
    assert f"{gone['w']}/{gone['e']}/18" in findings[0].text


def test_a_tail_cut_with_all_its_seals_is_found_by_the_published_heads(world):
    """Rows, leaves, tiles and heads are cut to an earlier head: the file outside of the database knows better."""
    world.rows.delete_many({"n": {"$gt": 15}})
    world.seals["runs"].delete_many({"_id": {"$gte": 30}})
    world.seals["heads"].delete_many({"_id": {"$gt": 4}})
    tile = world.seals["tiles"].find_one({"_id": "0/0"})
    world.seals["tiles"].update_one({"_id": "0/0"}, {"$set": {"b": tile["b"][: 30 * 32]}})
    for each in world.rows.find({"n": 15}):
        world.seals["links"].update_one({"_id": f"{each['w']}/{each['e']}"}, {"$set": {"n": 15, "h": each["h"]}})

    found = only_finding(world)
    assert found.kind == "tail cut"
    assert "head 5" in found.text


def exchange(seals):
    """Have a head tell what another does."""
    seals["heads"].update_one({"_id": 2}, {"$set": {"line": seals["heads"].find_one({"_id": 3})["line"]}})


OTHER_HEADS = {
    "another's line": (2, exchange),
    "another signature": (
        3,
        lambda seals: seals["heads"].update_one(
            {"_id": 3}, [{"$set": {"line": seals["heads"].find_one({"_id": 3})["line"].replace(b'e":"', b'e":"AA')}}]
        ),
    ),
    "no line": (1, lambda seals: seals["heads"].update_one({"_id": 1}, {"$set": {"line": b""}})),
    "no head": (2, lambda seals: seals["heads"].delete_one({"_id": 2})),
    "no head at the end": (5, lambda seals: seals["heads"].delete_one({"_id": 5})),
    "one between": (2, lambda seals: seals["heads"].insert_one({"_id": 1.5, "line": b"x"})),
}
"""The number of the first head that is not stored as it was published, and how that came."""


@pytest.mark.parametrize("case", OTHER_HEADS)
def test_a_head_that_is_not_stored_as_it_was_published_is_named(world, case):
    """Proofs and ``$head`` answer with what is stored."""
    number, tamper = OTHER_HEADS[case]
    tamper(world.seals)

    assert f"tree altered: head {number} is not stored as it was published" in map(str, world.verify().findings)


def test_a_tree_made_to_fit_an_edited_event_is_found_between_two_heads(world):
    """Whoever alters the row's leaf in the tiles as well meets the signed heads: the row is one of ten."""
    edited = row(world, 7)
    body = unpack(edited["b"]).replace(b"read", b"vead")
    digest = hashlib.sha256(edited["p"] + body).digest()
    world.rows.update_one({"_id": edited["_id"]}, {"$set": {"b": body, "h": digest}})
    ledger = world.ledger()
    forged, leaf = ledger.place_of(edited["_id"])
    tile = world.seals["tiles"].find_one({"_id": "0/0"})["b"]
    tile = tile[: leaf * 32] + leaf_hash(entry_of(forged)) + tile[leaf * 32 + 32 :]
    world.seals["tiles"].update_one({"_id": "0/0"}, {"$set": {"b": tile}})

    findings = world.verify().findings
    assert {finding.kind for finding in findings} == {"chain broken", "tree altered"}
    assert any("leaves 10 to 19 are not those of head 3" in finding.text for finding in findings)


def test_rows_deleted_before_they_were_sealed_are_missed_where_the_writer_closed(world):
    """A writer that ends in order says its last number."""
    store = world.stores[0]
    world.write(store, 3)
    store.close()
    world.rows.delete_many({"n": {"$gt": 21}})

    found = only_finding(world)
    assert found.kind == "tail cut"
    assert "closed at number 23, and ends at 21" in found.text


@pytest.mark.parametrize("line", [1, 3, 5])
def test_an_edited_head_is_refused(world, line):
    """Each head holds the one before it, the signature the last."""
    lines = world.sink.path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"\\nnumber", b"\\nnumber 1", 1)
    world.sink.path.write_bytes(b"".join(lines))

    with pytest.raises(BrokenHeadError):
        world.verify()


def test_a_head_that_is_taken_out_is_missed(world):
    """Heads are numbered, and held by the next one."""
    lines = world.sink.path.read_bytes().splitlines(keepends=True)
    world.sink.path.write_bytes(b"".join(lines[:2] + lines[3:]))

    with pytest.raises(BrokenHeadError, match="head 4 does not follow on head 2"):
        world.verify()


def test_heads_of_another_key_prove_nothing(world, tmp_path):
    """Who signs with a key of their own is not believed, however well the chain fits."""
    stranger = KeyFile(tmp_path / "stranger.key").current().public

    with pytest.raises(BrokenHeadError, match="no head is signed by the key"):
        world.verify(stranger)


UNPUBLISHED = {
    "another's line": lambda seals: {"_id": 6, "line": seals["heads"].find_one({"_id": 4})["line"]},
    "far behind": lambda seals: {"_id": 9, "line": seals["heads"].find_one({"_id": 5})["line"]},
    "no number": lambda seals: {"_id": "x", "line": seals["heads"].find_one({"_id": 5})["line"]},
    "nothing": lambda _: {"_id": 6},
}
"""What somebody puts after the last head."""


@pytest.mark.parametrize("case", UNPUBLISHED)
def test_a_head_that_follows_on_no_other_is_named(world, case):
    """``$head`` answers with the last, and who seals goes on from it."""
    world.seals["heads"].insert_one(UNPUBLISHED[case](world.seals))

    told = [finding.text for finding in world.verify().findings if finding.kind == "tree altered"]
    assert any("after the published heads" in text or "among the heads" in text for text in told)


def test_heads_that_are_not_published_yet_are_nothing_wrong(world):
    """Who verifies may hold older ones than the database has."""
    lines = world.sink.path.read_bytes().splitlines(keepends=True)
    world.sink.path.write_bytes(b"".join(lines[:3]))

    assert world.verify().findings == []
