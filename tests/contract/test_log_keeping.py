"""Retention and keys: a period is removed once it is over and sealed, and what was removed stays proven."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from fhir_dmp.audit.event import submit
from fhir_dmp.audit.export import page
from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.index import index_of
from fhir_dmp.audit.merkle import consistency_ranges, range_hash, tiles_of, verify_consistency
from fhir_dmp.errors import Conflict, NotFound, Unavailable
from fhir_dmp.fhir import codec
from fhir_dmp.service.audit_verify import lookers, verify_database, verify_export
from fhir_dmp.service.log_keeping import Keeper
from fhir_dmp.service.sealer import Sealer
from fhir_dmp.stores.mongo.ledger import remove_month
from tests.contract.test_export import exported, stranger
from tests.sealed_world import IDS, sealed_world
from tests.unit.audit.world import context

OCTOBER, NOVEMBER = "audit_2026_10", "audit_2026_11"
WHY = "a trial"
"""Why months go here that are younger than they may be."""


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """A log of October and November, with an epoch that crosses the month; it is the 20th of November, and nobody seals for now."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        made.store, made.leader, made.announced = made.writer(), made.sealer(), []
        for day in (datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 10, 31, 23, 59, tzinfo=UTC)):
            made.clock.set(day)
            made.write(made.store, 6)
            made.leader.tick()
        made.clock.set(datetime(2026, 11, 20, tzinfo=UTC))
        made.write(made.store, 4)
        made.leader.tick()
        assert made.verify().findings == []
        made.leader.release()
        yield made


def keeper(world):
    """Return a keeper beside the leader, as a command has it."""
    ledger = world.ledger()
    sealer = Sealer(ledger, world.keys, world.sink, world.clock, IDS)
    return Keeper(
        ledger,
        sealer,
        world.keys,
        world.clock,
        lambda act, context: world.announced.append((act.kind, act.error, act.why)),
        lambda period: remove_month(world.uri, world.name, period),
    )


def retire(world, *periods):
    """Remove months, a year later."""
    world.clock.set(datetime(2027, 11, 20, tzinfo=UTC))
    for period in periods:
        keeper(world).retire(period, SimpleNamespace(), WHY)


def report_of(world, lines, *looking):
    """Return what a verification of an export finds."""
    bare = [line.rstrip(b"\n") for line in lines]
    return verify_export(bare, world.published(), lambda _: lambda _: None, *looking)


def passed_off(lines, leaves, period):
    """Return an export in which these leaves have no row, as if that had been removed with the period."""
    made = []
    for line in lines:
        told = json.loads(line)
        if told["leaf"] in leaves and "hash" in told:
            entry = told["entry"]
            place = f"{entry['w']}/{entry['e']}/{entry['n']}" if entry else told["place"]
            told |= {"entry": None, "place": place, "period": period}
            line = json.dumps(told, separators=(",", ":")).encode() + b"\n"  # noqa: PLW2901 - kept as it is otherwise
        made.append(line)
    return made


def last_head(world):
    return [SignedHead.from_line(line).head for line in world.sink.lines()][-1]


def test_a_period_that_is_over_is_removed_and_the_log_verifies(world):
    """Twelve rows go, their leaves stay; a head says what they were, and the act has its event."""
    head = keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    report = world.verify()

    assert world.ledger().periods() == [NOVEMBER]
    assert (head.removed.period, head.removed.rows) == (OCTOBER, 12)
    assert last_head(world) == head
    why = f"{OCTOBER}, before its time: {WHY}"
    assert world.announced == [("audit-retire-start", None, why), ("audit-retire", None, why)]
    assert report.findings == []
    assert (report.leaves, report.removed) == (16, 12)


@pytest.mark.parametrize("exchanged", [False, True])
def test_clients_own_events_verify_leave_as_lines_and_go_with_their_month(world, exchanged):
    """Those of format 2, which hold all that was sent, and those of now, beside which the clinical part lies: it leaves in no line."""
    tree = {
        "resourceType": "AuditEvent",
        "recorded": "2026-11-20T10:00:00Z",
        "agent": [],
        "source": {},
        "outcomeDesc": "VIH",
    }
    now = submit(tree, context(), IDS.new(), world.clock.micros(), IDS.new)
    whole = submit(tree, context(), IDS.new(), world.clock.micros(), IDS.new)
    row = codec.loads_object(whole.body) | {"v": 2, "resource": tree}
    del row["sealed"]
    before = replace(whole, body=codec.dumps(row), index=index_of(row), secret=None)
    for event in (before, now):
        world.store.record(event)
    world.leader.tick()
    assert world.store.find_event(now.id) == now
    if exchanged:
        world.rows.update_one({"_id": now.id}, {"$set": {"s": b"other"}})
    lines = exported(world)
    world.leader.release()
    bare = [line.rstrip(b"\n") for line in lines]

    assert [line.count(b"VIH") for line in lines if b"submitted" in line] == [1, 0]
    assert verify_export(bare, world.published(), lambda _: lambda _: None, index=True).findings == []
    assert [each.kind for each in world.verify(index=True).findings] == ["altered"] * exchanged
    if not exchanged:
        retire(world, OCTOBER, NOVEMBER)
        assert world.verify(index=True).findings == []
        assert world.ledger().periods() == []


def test_proofs_across_a_removal_hold(world):
    """The tree of before begins the tree of after, and an export with holes verifies."""
    before = last_head(world)
    keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    world.write(world.store, 5)
    world.later(seconds=5)
    world.leader.tick()
    after, ledger = last_head(world), world.ledger()
    ranges = consistency_ranges(before.size, after.size)
    tiles = ledger.tiles(list(tiles_of(ranges)))
    path = [range_hash(leaves, tiles.__getitem__) for leaves in ranges]
    lines = page(ledger, 0, SignedHead.from_line(ledger.head()), 1000).splitlines()

    assert after.size == before.size + 5
    assert verify_consistency(before.size, after.size, before.root, after.root, path)
    assert verify_export(lines, world.published(), lambda _: lambda _: None).findings == []


def test_a_later_row_cannot_be_passed_off_as_a_removed_one(world):
    """Whoever takes away November's rows and writes October beside their leaves is found: October has all its leaves already."""
    retire(world, OCTOBER)
    world.database[f"{world.name}_log"][NOVEMBER].drop()
    world.seals.runs.update_many({"m": NOVEMBER}, {"$set": {"m": OCTOBER}})
    report = world.verify()

    assert [(finding.kind, finding.leaf) for finding in report.findings] == [
        ("missing", leaf) for leaf in range(12, 16)
    ]
    assert f"none of the 12 that were removed with {OCTOBER}" in report.findings[0].text
    assert report.removed == 12


def test_an_earlier_row_cannot_be_passed_off_as_a_removed_one(world):
    """It takes the place of one that was removed, and then the root over them is another: the first such leaf is named."""
    retire(world, NOVEMBER)
    world.database[f"{world.name}_log"][OCTOBER].delete_many({"n": {"$lte": 6}})
    world.seals.runs.update_one({"_id": 0}, {"$set": {"m": NOVEMBER}})
    report = world.verify()

    assert (report.findings[0].kind, report.findings[0].leaf) == ("tree altered", 0)
    assert NOVEMBER in report.findings[0].text
    assert {finding.leaf for finding in report.findings[1:]} == {4, 5, 12, 13, 14, 15}


@pytest.mark.parametrize("leaves", [[12], [14], [12, 13, 14, 15]])
def test_no_line_of_an_export_can_be_passed_off_as_a_removed_one(world, leaves, monkeypatch):
    """To us and to a stranger, with one process and with several; the first that is missing is named."""
    monkeypatch.setattr("fhir_dmp.audit.export.WINDOW", 3)
    retire(world, OCTOBER)
    lines = exported(world)
    forged = passed_off(lines, leaves, OCTOBER)
    report = report_of(world, forged)
    with lookers(2) as looking:
        assert report_of(world, forged, looking) == report
        assert report_of(world, lines, looking).findings == []

    assert [(finding.kind, finding.leaf) for finding in report.findings][: len(leaves)] == [
        ("missing", leaf) for leaf in leaves
    ]
    assert f"leaf {leaves[0]} is missing" in stranger(world, forged)[1]
    assert stranger(world, lines) == (True, "whole\n")


def test_a_whole_log_cannot_be_passed_off_as_removed(world):
    """Where the head says four rows, sixteen are not four."""
    retire(world, NOVEMBER)
    forged = passed_off(exported(world), range(16), NOVEMBER)
    report = report_of(world, forged)

    assert [(finding.kind, finding.leaf) for finding in report.findings[:2]] == [("tree altered", 0), ("missing", 4)]
    assert not stranger(world, forged)[0]


def test_a_removed_row_cannot_be_passed_off_as_another_months(world):
    """Then the one month has a leaf too few, and the other one too many; each is told with its name."""
    retire(world, OCTOBER, NOVEMBER)
    lines = exported(world)
    forged = passed_off(lines, [11], NOVEMBER)
    told = [str(finding) for finding in report_of(world, forged).findings]

    assert report_of(world, lines).findings == []
    assert any(f"12 events were removed with {OCTOBER}, and 11 leaves, from 0 on" in each for each in told), told
    assert any(NOVEMBER in each for each in told), told
    assert not stranger(world, forged)[0]


@pytest.mark.parametrize("cut", [0, 5, 12, 16])
def test_an_export_from_before_a_removal_that_went_on_after_it_is_whole(world, cut, monkeypatch):
    """So many of October's leaves have their rows still; together they are what was removed, window for window."""
    monkeypatch.setattr("fhir_dmp.audit.export.WINDOW", 3)
    begun = exported(world)[: 1 + cut]
    retire(world, OCTOBER)
    lines = [*begun, *exported(world, cut)]
    report = report_of(world, lines)
    with lookers(2) as looking:
        assert report_of(world, lines, looking) == report

    assert (report.findings, report.unsure, report.removed) == ([], [], max(12 - cut, 0))
    assert stranger(world, lines) == (True, "whole\n")
    if 0 < cut < 12:
        assert report_of(world, passed_off(lines, [12], OCTOBER)).findings != []


def test_rows_of_a_removed_period_that_are_put_back_are_what_they_were(world):
    """Some of them, from a copy: nothing is hidden, and the rest is what was removed."""
    rows = list(world.database[f"{world.name}_log"][OCTOBER].find({"n": {"$in": [2, 3, 9]}}))
    retire(world, OCTOBER)
    put_back = world.database[f"{world.name}_log"][OCTOBER]
    put_back.create_index([("w", 1), ("e", 1), ("n", 1)], unique=True)
    put_back.insert_many(rows)
    report = world.verify()

    assert (report.findings, report.removed) == ([], 9)


@pytest.mark.parametrize(("first", "number"), [(5, None), (0, 2)])
def test_a_part_that_begins_or_ends_within_a_removed_period_says_what_it_cannot_tell(world, first, number):
    """Whether these are the removed ones shows only where all are; a part that has none of them, or all, leaves nothing open."""
    retire(world, OCTOBER)
    lines = exported(world, first, number)
    report = report_of(world, lines)
    right, told = stranger(world, lines)

    assert report.findings == []
    assert len(report.unsure) == 1
    assert OCTOBER in report.unsure[0]
    assert f"the {report.removed} events from leaf {first} on" in report.unsure[0]
    assert right
    assert f"not checked: {report.removed} leaves are of {OCTOBER}, 12 were removed" in told
    assert report_of(world, exported(world, 12)).unsure == []


def test_a_part_with_more_rows_away_than_were_removed_is_found_out(world):
    """November had four: of six that are away two are not its."""
    retire(world, NOVEMBER)
    lines = exported(world, 6)
    assert report_of(world, lines).findings == report_of(world, lines).unsure == []
    forged = passed_off(lines, [6, 7], NOVEMBER)

    assert [finding.leaf for finding in report_of(world, forged).findings] == [6, 14, 15]
    assert not stranger(world, forged)[0]


def test_rows_removed_without_a_signed_record_are_missing(world):
    """Whoever drops a month by hand is found out."""
    world.rows.drop()

    assert set(world.found()) == {"missing"}


def test_rows_put_back_into_a_removed_period_are_altered_ones(world):
    """The leaf knows what was there."""
    row = world.database[f"{world.name}_log"][OCTOBER].find_one({"n": 3})
    keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    rows = world.database[f"{world.name}_log"][OCTOBER]
    rows.create_index([("w", 1), ("e", 1), ("n", 1)], unique=True)
    rows.insert_one({**row, "b": b"{}"})

    assert world.found() == ["altered"]


def test_a_period_that_is_not_over_stays(world):
    """The present month, and one that ended within a day; nothing is begun or signed, and the refusals are told."""
    before = last_head(world)
    with pytest.raises(Conflict, match="2026-12-02"):
        keeper(world).retire(NOVEMBER, SimpleNamespace(), WHY)
    world.clock.set(datetime(2026, 12, 1, 12, tzinfo=UTC))
    with pytest.raises(Conflict, match="not over"):
        keeper(world).retire(NOVEMBER, SimpleNamespace(), WHY)
    with pytest.raises(NotFound, match=NOVEMBER):
        keeper(world).retire("audit_2020_01", SimpleNamespace())

    assert last_head(world) == before
    refused = [("audit-retire", "conflict")] * 2 + [("audit-retire", "not-found")]
    assert [told[:2] for told in world.announced] == refused
    assert world.announced[0][2].startswith(f"{NOVEMBER}: The period {NOVEMBER} is not over")


def test_a_period_that_is_younger_than_it_may_be_stays_unless_somebody_says_why(world):
    """Ten years after its end nobody has to; the refusal says when, by which setting, and the way round."""
    with pytest.raises(Conflict, match=r"kept until 2036-11-01, 10 years .*DMP_AUDIT_RETENTION_YEARS.* --early WHY"):
        keeper(world).retire(OCTOBER, SimpleNamespace())
    world.clock.set(datetime(2036, 10, 31, 23, 59, tzinfo=UTC))
    with pytest.raises(Conflict, match="2036-11-01"):
        keeper(world).retire(OCTOBER, SimpleNamespace())
    assert [told[:2] for told in world.announced] == [("audit-retire", "conflict")] * 2

    world.clock.set(datetime(2036, 11, 1, tzinfo=UTC))
    keeper(world).retire(OCTOBER, SimpleNamespace())

    assert world.announced[2:] == [("audit-retire-start", None, OCTOBER), ("audit-retire", None, OCTOBER)]
    assert world.ledger().periods() == [NOVEMBER]


def test_a_period_with_a_row_that_has_no_leaf_stays(world):
    """What is not sealed is not removed."""
    rows = world.database[f"{world.name}_log"][OCTOBER]
    rows.insert_one({**rows.find_one({"n": 3}), "_id": "invented", "e": "feedfeedfeed"})

    with pytest.raises(Conflict, match="feedfeedfeed"):
        keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    assert OCTOBER in world.ledger().periods()


def test_a_period_with_an_altered_row_stays(world):
    """Evidence of tampering is not signed away."""
    world.database[f"{world.name}_log"][OCTOBER].update_one({"n": 3}, {"$set": {"pt": []}})

    with pytest.raises(Conflict, match="not what was sealed"):
        keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    assert OCTOBER in world.ledger().periods()
    begun, failed = world.announced
    assert begun[:2] == ("audit-retire-start", None)
    assert failed[:2] == ("audit-retire", "conflict")
    assert "not what was sealed" in failed[2]


@pytest.mark.parametrize("fault", [Unavailable("away"), OSError("away"), KeyboardInterrupt()])
def test_a_removal_that_breaks_off_is_told_as_one_and_is_finished_later(world, fault):
    """Signed, and the rows are there still: the log says that it failed, a verifier that it is not finished, and nothing is found wrong."""
    first = keeper(world)

    def fail(period):
        raise fault

    with pytest.raises(type(fault)):
        replace(first, drop=fail).retire(OCTOBER, SimpleNamespace(), WHY)
    report = world.verify()
    assert [told[:2] for told in world.announced] == [
        ("audit-retire-start", None),
        ("audit-retire", "transient" if isinstance(fault, Unavailable) else "exception"),
    ]
    assert (report.findings, report.removed, report.halfway) == ([], 0, [OCTOBER])
    assert last_head(world).removed.period == OCTOBER

    keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    report = world.verify()
    assert [told[:2] for told in world.announced[2:]] == [("audit-retire-start", None), ("audit-retire", None)]
    assert (report.findings, report.removed, report.halfway) == ([], 12, [])
    assert report_of(world, exported(world)).findings == []
    assert stranger(world, exported(world)) == (True, "whole\n")


def test_a_removal_that_was_cut_when_all_was_gone_says_so_when_it_is_asked_for_again(world):
    """Nothing told its end: to ask again does, since the leaves are there and the rows are not."""
    retire(world, OCTOBER)
    del world.announced[1:]

    with pytest.raises(NotFound, match="removed already; a signed head"):
        keeper(world).retire(OCTOBER, SimpleNamespace(), WHY)
    assert world.announced[1][:2] == ("audit-retire", "not-found")
    assert "removed already" in world.announced[1][2]


def test_what_a_verification_found_is_told_before_anybody_hears_of_it(world):
    """That all is right, with how much; what is wrong, as a failure; and that it could not be looked at."""
    look = partial(verify_database, published=world.published(), progress=lambda _: lambda _: None)
    assert keeper(world).verify(look, SimpleNamespace()).findings == []
    world.database[f"{world.name}_log"][OCTOBER].update_one({"n": 3}, {"$set": {"pt": []}})
    found = keeper(world).verify(look, SimpleNamespace()).findings[0]
    world.sink.path.write_bytes(b"{}\n")
    with pytest.raises(ValueError, match="heads"):
        keeper(world).verify(look, SimpleNamespace())

    right, wrong, broken = world.announced
    assert right[:2] == ("audit-verify", None)
    assert right[2].startswith("16 events verified against ")
    assert wrong == ("audit-verify", "conflict", str(found))
    assert broken[:2] == ("audit-verify", "exception")


def test_what_was_not_foreseen_is_told_by_its_kind_alone(world):
    """Its words may name a path, or quote what was read; the log is read by auditors."""
    with pytest.raises(OSError, match="/srv/keys"):
        keeper(world).verify(Mock(side_effect=OSError("/srv/keys: no such file")), SimpleNamespace())

    assert world.announced == [("audit-verify", "exception", "OSError")]


def test_a_key_is_rotated_beside_the_one_who_seals(world):
    """The leader lets go within seconds, and takes the lease again afterwards."""
    assert world.leader.tick()
    old = world.keys.public()
    new = keeper(world).rotate_key(SimpleNamespace())
    world.write(world.store, 3)
    ends = time.monotonic() + 60
    while not world.leader.tick():
        assert time.monotonic() < ends
        time.sleep(0.1)

    assert world.keys.public() == new != old
    assert last_head(world).key == new.id
    assert world.verify(old).findings == world.verify(new).findings == []
    assert {key.id for key in world.published(old).survey().keys} == {old.id, new.id}
