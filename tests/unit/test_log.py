"""The log: fields in the journal, lines on stderr, and the choice between them."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import log


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was afterwards."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    logger.handlers = []
    yield logger
    logger.handlers, logger.level = handlers, level


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What would go to the journal."""
    entries: list[dict[str, object]] = []
    monkeypatch.setattr(
        "appliance.log.journal.send", lambda message, **values: entries.append({"MESSAGE": message, **values})
    )
    return entries


def test_lines_on_stderr(root: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    monkeypatch.setattr(log, "JOURNAL_SOCKET", tmp_path / "none")
    log.start()
    root.info("up %s", "now", extra=log.fields(mode="routed", took_ms=7))
    root.warning("careful")
    root.debug("not shown")
    assert text.getvalue() == "levee: up now (mode=routed took_ms=7)\nlevee: warning: careful\n"


def test_fields_in_the_journal(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: list[dict[str, object]]
) -> None:
    (tmp_path / "socket").touch()
    monkeypatch.setattr(log, "JOURNAL_SOCKET", tmp_path / "socket")
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        log.start(verbose=True)
        root.error("queue %d is gone", 3, extra=log.fields(queue=3))
    assert (tmp_path / "stderr").read_text() == "", "journald would log it twice"
    (entry,) = sent
    assert entry["MESSAGE"] == "queue 3 is gone"
    assert entry["PRIORITY"] == "3"
    assert entry["SYSLOG_IDENTIFIER"] == "levee"
    assert entry["LEVEE_QUEUE"] == "3"
    assert entry["CODE_FUNC"] == "test_fields_in_the_journal"


def test_a_terminal_sees_the_lines_beside_the_journal(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: list[dict[str, object]]
) -> None:
    (tmp_path / "socket").touch()
    text = io.StringIO()
    monkeypatch.setattr(log, "JOURNAL_SOCKET", tmp_path / "socket")
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(sys, "stderr", text)
    log.start()
    root.info("hello")
    assert len(sent) == 1
    assert text.getvalue() == "levee: hello\n"
