"""The log: structured fields in the journal where there is one, plain lines on stderr else.

Owns the choice between the two and the shape of a line. Called by cli.py before the daemon starts; everything else
uses Python's logging with `extra=fields(...)`. Must not know who logs what.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from systemd import journal

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
PREFIX = "LEVEE_"

# syslog's severities (RFC 5424 section 6.2.1), which the journal uses too.
SEVERITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


def fields(**values: object) -> dict[str, object]:
    """Structured fields for `extra=`: `service="web"` becomes LEVEE_SERVICE in the journal, service=web on stderr."""
    return {"levee_fields": values}


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    found = getattr(record, "levee_fields", {})
    return found if isinstance(found, dict) else {}


class JournalHandler(logging.Handler):
    """One journal entry a record, with its fields."""

    def emit(self, record: logging.LogRecord) -> None:
        """Sends the record; a journal that went away is reported on stderr as logging does."""
        try:
            journal.send(
                self.format(record),
                PRIORITY=str(SEVERITIES.get(record.levelno, 6)),
                SYSLOG_IDENTIFIER="levee",
                LOGGER=record.name,
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                CODE_FUNC=record.funcName,
                **{f"{PREFIX}{name.upper()}": str(value) for name, value in _fields_of(record).items()},
            )
        except OSError:
            self.handleError(record)


class LineFormatter(logging.Formatter):
    """`levee: warning: message (name=value ...)`; who collects the lines adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole line, and the lines of a traceback where there is one."""
        text = super().format(record)
        found = " ".join(f"{name}={value}" for name, value in _fields_of(record).items())
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"levee: {level}{text}{f' ({found})' if found else ''}"


def is_journal(stream: TextIO) -> bool:
    """Whether the stream is the journal's own: JOURNAL_STREAM is its device and inode (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def start(*, verbose: bool = False) -> None:
    """Sends the log to the journal when there is one, and to stderr unless that ends in the journal anyway."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    has_journal = JOURNAL_SOCKET.exists()
    if has_journal:
        root.addHandler(JournalHandler())
    if not (has_journal and is_journal(sys.stderr)):
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(LineFormatter())
        root.addHandler(lines)
