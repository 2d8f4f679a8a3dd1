"""Tests of files that others publish are skipped aloud, or there."""

from __future__ import annotations

import pytest

from tests import published


def test_a_folder_that_is_absent_is_one_skip_that_says_so(tmp_path, monkeypatch):
    """With what was sought, and where."""
    monkeypatch.setattr(published, "SHARED", tmp_path)
    [absent] = published.examples("theirs", "*.json")

    assert [mark.name for mark in absent.marks] == ["skip"]
    assert absent.marks[0].kwargs == {"reason": "needs *.json of ../shared/data/theirs"}


def test_a_folder_without_a_file_of_the_kind_is_a_fault(tmp_path, monkeypatch):
    """No test would be left, and nobody would be told."""
    monkeypatch.setattr(published, "SHARED", tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.xml").touch()

    with pytest.raises(AssertionError, match=r"no \*\.json in"):
        published.examples("theirs", "*.json")
    assert [path.name for path in published.examples("theirs", "*.xml")] == ["a.xml"]
