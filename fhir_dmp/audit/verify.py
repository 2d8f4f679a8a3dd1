"""Checking a log against its signed heads, leaf by leaf, with nothing secret, and in memory that grows with the epochs alone.

A leaf comes with the hash that stands in the tree for it and with its entry. The tree is rebuilt from the hashes and compared with
each signed head; each entry is compared with its hash, with the entry before it in its writer's chain, and, if asked for, what it is
found by with what its row says. So a row that is altered, missing or out of place is named, unless whoever did it altered the tree as well:
then the heads between which it happened are named, since nobody without the key can alter those.

A row may lack only if it went with a period whose removal was signed: so many rows, with that root over their leaves (``audit.removal``).

Leaves come in windows that were looked through already (``audit.look``); where anything is wrong, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from fhir_dmp.audit.entry import Entry, first_link, holds, misfiled
from fhir_dmp.audit.findings import MOST_FINDINGS, Chain, Finding, Report
from fhir_dmp.audit.heads import Head, Removed
from fhir_dmp.audit.look import Leaf, Looked, Seen, period_in
from fhir_dmp.audit.merkle import Frontier, leaf_hash
from fhir_dmp.audit.removal import Removal


class Verifier:
    """Reads leaves in order; ``first`` and ``edge`` say where they begin (``merkle.Frontier``).

    With ``index`` what an event is found by is compared with what its row says; without, with what was sealed alone.
    """

    def __init__(
        self, removed: Mapping[str, Removed], first: int = 0, edge: Sequence[bytes] = (), *, index: bool = False
    ) -> None:
        self.report = Report(first=first, proven=first)
        self._frontier = Frontier(first, edge)
        self._number = first
        self._chains: dict[Chain, tuple[int, str | None]] = {}
        self._from_start = first == 0
        self._index = index
        self._removals = {period: Removal(told) for period, told in removed.items()}
        self._absent: dict[int, int] = {}
        self._whole = True

    def run(
        self,
        looked: Iterable[Looked],
        heads: Iterator[Head],
        progress: Callable[[int], object] = lambda _: None,
        last: Callable[[], int | None] = lambda: None,
    ) -> Report:
        """Return what is wrong with the leaves, by the heads, which must be checked already (``heads.HeadChain``).

        ``last`` tells at the end the number of the head that the leaves claim to reach, None for the last there is.
        """
        report = self.report
        head = self._compare(next(heads, None), heads)
        for window, seen in looked:
            if seen is not None and self._follows(seen):
                head = self._pass(seen, head, heads)
                progress(len(seen.hashes))
                continue
            before = report.leaves
            for leaf in window.leaves():
                head = self._look_at(leaf, head, heads)
            progress(report.leaves - before)
        self._end(head, heads, last())
        return report

    def last(self, key: Chain) -> tuple[int, str | None]:
        """Return the number and the hash (hex) of the last row of the epoch among the leaves, no hash where that is not known."""
        return self._chains.get(key) or (0, first_link(*key).hex())

    def _follows(self, seen: Seen) -> bool:
        """Tell whether a window in which all is right follows on what came before, each epoch of it too."""
        return seen.first == self._number and all(
            number == before and last in (None, previous)
            for key, (before, previous) in seen.before.items()
            for number, last in (self._before(key, before + 1),)
        )

    def _before(self, key: Chain, number: int) -> tuple[int, str | None]:
        """Return the last number and hash of the epoch; of one that is new here, what its row with this number must follow on."""
        known = self._chains.get(key)
        if known is None:
            known = (0, first_link(*key).hex()) if self._from_start or number == 1 else (number - 1, None)
        return known

    def _pass(self, seen: Seen, head: Head | None, heads: Iterator[Head]) -> Head | None:
        """Take the leaves of a window in which all is right; return the next head."""
        self._chains.update(seen.after)
        for (period, since), (_, until) in pairwise([*seen.periods, ("", len(seen.hashes))]):
            if period in self._removals:
                for leaf, digest in enumerate(seen.hashes[since:until], seen.first + since):
                    self._take(period, leaf, digest, there=True)
        at = 0
        while at < len(seen.hashes):
            until = len(seen.hashes)
            if head is not None and head.size > self._number:
                until = min(until, at + head.size - self._number)
            if self._whole:
                self._frontier.extend(seen.hashes[at:until])
            head = self._count(until - at, head, heads)
            at = until
        return head

    def _take(self, period: str, leaf: int, digest: bytes, *, there: bool) -> bool:
        """Take the leaf if it can be one of a removed period; tell of that period if these are not the leaves it had."""
        removal = self._removals.get(period)
        if removal is None or not removal.take(leaf, digest, there=there):
            return False
        if removal.full and removal.since is not None and not removal.holds:
            told = f"what is not there of {period}, from leaf {removal.since} on, is not what its head says was removed"
            self.report.add("tree altered", removal.since, told)
        return True

    def _count(self, leaves: int, head: Head | None, heads: Iterator[Head]) -> Head | None:
        """Count the leaves, which go as far as the next head at most; return the head that comes then."""
        self._number += leaves
        self.report.leaves += leaves
        return self._compare(head, heads) if head is not None and head.size == self._number else head

    def _look_at(self, leaf: Leaf, head: Head | None, heads: Iterator[Head]) -> Head | None:
        if leaf.number != self._number:
            self._number = self._out_of_place(leaf, self._number)
            if leaf.number < self._number:
                return head
        self._check(leaf)
        return self._count(1, head, heads)

    def _check(self, leaf: Leaf) -> None:
        told = leaf.hash
        if not leaf.beside:
            name = _name(leaf, leaf.read)
            self.report.add("altered", leaf.number, f"what lies beside {name} is not what it names")
        if leaf.entry is None:
            self._check_absence(leaf)
        else:
            own = leaf_hash(leaf.entry)
            if told is not None and told != own:
                self._tell_altered(leaf, leaf.read)
            else:
                self._check_chain(leaf)
            if told is None:
                self.report.add("tree altered", leaf.number, f"the tree has no hash of {_name(leaf, leaf.read)}")
                told = own
            if self._removals and (entry := leaf.read):
                self._take(period_in(entry), leaf.number, told, there=True)
        if told is None:
            self._whole = False
        elif self._whole:
            self._frontier.append(told)

    def _tell_altered(self, leaf: Leaf, entry: Entry | None) -> None:
        """Tell of an entry that is not the leaf's; one that is whole in itself and follows on another was moved."""
        if entry is None:
            self._tell_unreadable(leaf)
            return
        _, last = self._chains.get((entry.w, entry.e), (0, None))
        wrong = misfiled(entry)
        if last not in (None, entry.p) and holds(entry):
            self.report.add("reordered", leaf.number, f"{_name(leaf, entry)} does not belong there")
        elif wrong and holds(entry):
            told = f"{_name(leaf, entry)} is not found by what was sealed: {', '.join(wrong)}"
            self.report.add("altered", leaf.number, told)
        else:
            self.report.add("altered", leaf.number, f"{_name(leaf, entry)} is not what was sealed")
        self._chains[entry.w, entry.e] = (entry.n, None)

    def _check_chain(self, leaf: Leaf) -> None:
        """Check that the entry follows on the one before it in its epoch, and is found by what its row says."""
        entry = leaf.read
        if entry is None:
            self._tell_unreadable(leaf)
            return
        key = (entry.w, entry.e)
        number, last = self._before(key, entry.n)
        if entry.n <= number:
            self.report.add("duplicated", leaf.number, f"{_name(leaf, entry)} comes a second time, or too late")
            return
        if entry.n != number + 1:
            lacking = f"{entry.w}/{entry.e}/{number + 1}"
            self.report.add("missing", leaf.number, f"event {lacking} does not stand before {_name(leaf, entry)}")
        elif (last is not None and entry.p != last) or not holds(entry):
            self.report.add("chain broken", leaf.number, f"{_name(leaf, entry)} does not follow on the one before it")
        elif self._index and (wrong := misfiled(entry)):
            told = f"{_name(leaf, entry)} is not found by what it says: {', '.join(wrong)}"
            self.report.add("misfiled", leaf.number, told)
        self._chains[key] = (entry.n, entry.h)

    def _tell_unreadable(self, leaf: Leaf) -> None:
        self._go_on_after(leaf)
        self.report.add("altered", leaf.number, f"{_name(leaf, None)} is no entry")

    def _go_on_after(self, leaf: Leaf) -> None:
        """Let the epoch go on after a leaf that says nothing itself, if it is known whose it is."""
        writer, epoch, number = _place(leaf.place)
        if number:
            self._chains[writer, epoch] = (number, None)

    def _check_absence(self, leaf: Leaf) -> None:
        self._go_on_after(leaf)
        if leaf.hash is not None and self._take(leaf.period, leaf.number, leaf.hash, there=False):
            self.report.removed += 1
            return
        told = f"event {leaf.place or '?'} (leaf {leaf.number}) is not there"
        if (removal := self._removals.get(leaf.period)) and removal.full:
            told += f", and is none of the {removal.removed.rows} that were removed with {leaf.period}"
        self.report.add("missing", leaf.number, told)

    def _out_of_place(self, leaf: Leaf, expected: int) -> int:
        """Tell of leaves that come too early, too late or twice; return the number to go on from."""
        self._whole = False
        entry = leaf.read
        if leaf.number < expected:
            if self._absent.pop(leaf.number, None) is not None:
                self._replace_missing(leaf.number, f"{_name(leaf, entry)} stands after leaf {expected - 1}")
            else:
                self.report.add("duplicated", leaf.number, f"{_name(leaf, entry)} comes a second time")
            return expected
        for absent in range(expected, min(leaf.number, expected + MOST_FINDINGS)):
            if self.report.full:
                break
            self._absent[absent] = absent
            self.report.add("missing", absent, f"leaf {absent} does not stand before {_name(leaf, entry)}")
        if entry is not None:
            self._chains[entry.w, entry.e] = (entry.n - 1, None)
        return leaf.number

    def _replace_missing(self, leaf: int, text: str) -> None:
        for place, finding in enumerate(self.report.findings):
            if finding.kind == "missing" and finding.leaf == leaf:
                self.report.findings[place] = Finding("reordered", leaf, text)

    def _compare(self, head: Head | None, heads: Iterator[Head]) -> Head | None:
        """Compare the tree with the heads of its size; return the next that is larger."""
        size = self._frontier.size if self._whole else -1
        while head is not None and head.size <= max(size, self.report.proven):
            if head.size == size and self._whole:
                self.report.heads += 1
                if self._frontier.root() == head.root:
                    self.report.proven, self.report.newest = size, head
                else:
                    self._whole = False
                    since = self.report.proven
                    self.report.add(
                        "tree altered",
                        since,
                        f"leaves {since} to {size - 1} are not those of head {head.number} of {head.time}",
                    )
            head = next(heads, None)
        return head

    def _end(self, head: Head | None, heads: Iterator[Head], claimed: int | None) -> None:
        """Compare the end with the head that it must reach, and count the heads after that."""
        end = self.report.first + self.report.leaves
        part = set() if self._from_start else set(self._removals)
        for later in (*((head,) if head else ()), *heads):
            if later.size <= end:
                continue
            if later.removed is not None:
                part.add(later.removed.period)
            if claimed is not None and later.number > claimed:
                self.report.later += 1
            elif not self.report.cut:
                told = f"the log ends at leaf {end - 1}; head {later.number} of {later.time} holds {later.size}"
                self.report.add("tail cut", end, told)
        for period, removal in self._removals.items():
            if removal.since is not None and not removal.full:
                self._tell_short(period, removal, part=period in part)

    def _tell_short(self, period: str, removal: Removal, *, part: bool) -> None:
        """Tell of a removed period that has fewer leaves than it had; a part of the log may have begun, or ended, within it."""
        rows = removal.removed.rows
        if part:
            told = (
                f"whether the {removal.absent} events from leaf {removal.since} on that are not there are of the {rows}"
            )
            self.report.unsure.append(
                f"{told} that were removed with {period} cannot be told from this part of the log"
            )
        else:
            told = f"{rows} events were removed with {period}, and {removal.size} leaves, from {removal.since} on, are of it"
            self.report.add("tree altered", removal.since, told)


def _name(leaf: Leaf, entry: Entry | None) -> str:
    if entry is None:
        return f"event {leaf.place} (leaf {leaf.number})" if leaf.place else f"leaf {leaf.number}"
    return f"event {entry.id} ({entry.w}/{entry.e}/{entry.n}, leaf {leaf.number})"


def _place(place: str) -> tuple[str, str, int]:
    parts = place.split("/")
    return (parts[0], parts[1], int(parts[2])) if len(parts) == 3 and parts[2].isdigit() else ("", "", 0)
