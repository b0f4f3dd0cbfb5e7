"""What is kept of earlier configurations: bounded, in order, and told where it is damaged; and the clock of a trial."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import history as history_module
from appliance import pending as pending_module
from appliance import statefile
from appliance.errors import OperatorError
from appliance.history import Entry, History
from appliance.pending import Pending, PendingFile, boot_id, now_s
from appliance.statefile import UnreadableError


def entry(text: str, *, kept: bool = True) -> Entry:
    return Entry(0, 1_700_000_000, "root", "apply", "", kept, text)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def test_entries_are_numbered_and_survive(history: History, tmp_path: Path) -> None:
    for text in ("a\r\n", "ü # → \U0001f600", ""):
        history.add(entry(text))
    again = History(tmp_path / "history")
    assert [(one.number, one.text) for one in again.entries()] == [(1, "a\r\n"), (2, "ü # → \U0001f600"), (3, "")]
    assert again.get(2).text == "ü # → \U0001f600"


def test_an_empty_history_has_nothing_to_go_back_to(history: History) -> None:
    assert history.entries() == []
    assert history.latest() is None
    with pytest.raises(OperatorError, match="no earlier configuration"):
        history.before(1)


def test_what_was_taken_back_or_never_in_force_is_not_gone_back_to(history: History) -> None:
    for text, kept in (("a", True), ("b", False), ("c", True), ("c", True)):
        history.add(entry(text, kept=kept))
    latest = history.latest()
    assert latest is not None
    assert latest.number == 4
    assert history.before(4).text == "a", "the text of 3 is the same, 2 was taken back"
    history.mark(2, kept=True)
    assert history.before(4).text == "b"


def test_the_oldest_go_first_but_for_those_that_are_needed(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_ENTRIES", 5)
    for number in range(9):
        history.add(entry(str(number)), needed={2})
    assert [one.number for one in history.entries()] == [2, 5, 6, 7, 8, 9]


def test_it_is_bounded_in_bytes(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_BYTES", 1000)
    for _ in range(5):
        history.add(entry("x" * 400))
    assert [one.number for one in history.entries()] == [4, 5]


def test_a_number_is_not_used_twice(history: History) -> None:
    """Also that of an entry that cannot be read."""
    for text in ("a", "b", "c"):
        history.add(entry(text))
    history._path(3).write_text("{")
    assert history.add(entry("d")).number == 4


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "{}", '{"number": "1"}', '{"text": 1}', "\xff", '{"number": true, "unknown": 1}']
)
def test_a_damaged_entry_is_told_once_and_left_out(
    history: History, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    history.add(entry("a"))
    history.add(entry("b"))
    history._path(1).write_bytes(damage.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert [one.text for one in history.entries()] == ["b"]
        assert [one.text for one in history.entries()] == ["b"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{history._path(1)}: is damaged and left out of the history"
    ]


@given(
    st.dictionaries(
        st.sampled_from(["number", "back_to", "user", "boot", "deadline_s", "until_started", "other"]),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    )
)
def test_a_record_is_of_its_types_or_not_at_all(found: dict[str, object]) -> None:
    try:
        made = statefile.record(Pending, found)
    except UnreadableError:
        return
    assert type(made.number) is type(made.back_to) is int
    assert type(made.deadline_s) is float
    assert type(made.until_started) is bool


def test_a_pending_record_survives(tmp_path: Path) -> None:
    file = PendingFile(tmp_path / "pending.json")
    assert file.read() is None
    record = Pending(2, 1, "root", boot_id(), now_s() + 60, until_started=False)
    file.write(record)
    assert PendingFile(tmp_path / "pending.json").read() == record
    file.remove()
    file.remove()
    assert file.read() is None


def test_the_time_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Pending(2, 1, "root", boot_id(), 1000.0, until_started=False)
    for now, left in ((940.0, 60.0), (999.5, 0.5), (1000.0, 0.0), (5000.0, 0.0)):
        monkeypatch.setattr(pending_module, "now_s", lambda now=now: now)
        assert record.left_s() == left
    monkeypatch.setattr(pending_module, "now_s", lambda: 940.0)
    monkeypatch.setattr(pending_module, "boot_id", lambda: "another")
    assert record.left_s() == 0.0
