"""Makes docs/behaviour.md: each promise of tests/behaviour/behaviour.yaml, its tests, and what their last run said.

    tools/behaviour.py              write docs/behaviour.md from the results in .build/report
    tools/behaviour.py --check      only compare the list with the tests that exist; write nothing

Owns the table. A cell counts the test cases that passed; a case that was skipped gives its reason as a footnote; where
no case ran the cell says so, so that nothing looks tested that was not. Run by make; reads the JUnit files of
tools/suite.py. It must not run a test itself.
"""

from __future__ import annotations

import ast
import datetime as dt
import fnmatch
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field

import yaml
from parts import REPORT, ROOT

LIST = ROOT / "tests/behaviour/behaviour.yaml"
TABLE = ROOT / "docs/behaviour.md"

OFF_THE_WIRE = "without a network"
# Column -> JUnit files of the steps that fill it, the fullest run first.
COLUMNS = {
    "routed, nfqueue": ("lab",),
    "host, nfqueue": ("host-in-the-lab",),
    "bridge, nfqueue (guest)": ("guest-all", "guest"),
    "bridge, bpf": ("lab-with-bpf", "bpf-in-the-lab"),
    "bridge, bpf (guest)": ("guest-with-bpf",),
    OFF_THE_WIRE: ("unit", "property", "differential", "bpf-programs"),
}


@dataclass(frozen=True)
class Line:
    """One promise: its words, and the patterns that name its tests, as FOLDER/FILE::FUNCTION."""

    what: str
    patterns: tuple[str, ...]


@dataclass
class Cell:
    """What the cases of a line came to in one column."""

    passed: int = 0
    failed: int = 0
    skips: Counter[str] = field(default_factory=Counter)
    silent: int = 0  # tests of the line that no case stands for


class WrongList(Exception):
    """The list and the tests do not fit."""


def full(pattern: str) -> str:
    """A pattern with its folder: the lab's where none is given."""
    return pattern if "/" in pattern.partition("::")[0] else f"lab/{pattern}"


def sections() -> dict[str, list[Line]]:
    """The list, in its order."""
    found = {}
    for section in yaml.safe_load(LIST.read_text()):
        lines = [Line(entry["what"], tuple(map(full, entry["tests"]))) for entry in section["lines"]]
        found[section["section"]] = lines
    return found


def functions() -> set[str]:
    """Every test function of the repository, as FOLDER/FILE::FUNCTION without their `test_`."""
    found = set()
    for path in ROOT.glob("tests/*/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.parent.name}/{path.stem[5:]}::{node.name[5:]}")
    return found


def check(lines: list[Line]) -> None:
    """Raises WrongList with every pattern that names no test, and every line without a test."""
    known = functions()
    wrong = [
        f"{line.what}: no test is called {pattern}"
        for line in lines
        for pattern in line.patterns
        if not fnmatch.filter(known, pattern)
    ]
    wrong += [f"{line.what}: no test is named" for line in lines if not line.patterns]
    if wrong:
        raise WrongList("\n".join(f"{LIST.relative_to(ROOT)}: {text}" for text in wrong))


def cases(names: tuple[str, ...]) -> dict[tuple[str, str], ET.Element]:
    """Test cases of the files that exist: (FOLDER/FILE::FUNCTION, parameters) -> element. The first file wins."""
    found: dict[tuple[str, str], ET.Element] = {}
    for name in names:
        path = REPORT / f"{name}.xml"
        if not path.exists():
            continue
        for case in ET.parse(path).iter("testcase"):
            _, folder, file = case.get("classname", "").split(".")[:3]
            function, _, parameters = case.get("name", "").partition("[")
            found.setdefault((f"{folder}/{file[5:]}::{function[5:]}", parameters), case)
    return found


def cell(line: Line, results: dict[tuple[str, str], ET.Element], *, wire: bool) -> Cell:
    """Count the cases of one line that belong on the wire, or those that do not."""
    patterns = [pattern for pattern in line.patterns if pattern.startswith("lab/") == wire]
    counted = Cell(silent=sum(not fnmatch.filter((name for name, _ in results), pattern) for pattern in patterns))
    for (name, _), case in results.items():
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counted.failed += 1
        elif skipped is not None:
            counted.skips[skipped.get("message") or "no reason given"] += 1
        else:
            counted.passed += 1
    return counted


class Footnotes:
    """Numbers for reasons, in order of appearance."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        """The reference to a reason."""
        return f"[{self.numbers.setdefault(reason, len(self.numbers) + 1)}]"


def shown(counted: Cell, notes: Footnotes) -> str:
    """The words of a cell; empty if the line has no test of this kind."""
    if counted.failed:
        return f"**{counted.failed} failed**"
    words = f"{counted.passed} passed" if counted.passed else ""
    if counted.skips:
        reasons = "".join(notes.mark(reason) for reason in counted.skips)
        words = f"{words} {reasons}" if words else f"not run {reasons}"
    if counted.silent:
        words = f"{words}, **{counted.silent} tests not run**" if words else "**not run**"
    return words


def commit() -> str:
    """What the working tree is."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def ages(names: tuple[str, ...]) -> str:
    """When the results of a column were made."""
    there = [REPORT / f"{name}.xml" for name in names if (REPORT / f"{name}.xml").exists()]
    if not there:
        return "no results"
    newest = max(path.stat().st_mtime for path in there)
    return dt.datetime.fromtimestamp(newest, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def table() -> str:
    """The whole page."""
    results = {column: cases(names) for column, names in COLUMNS.items()}
    notes = Footnotes()
    text = [
        "# Behaviour",
        "",
        "What Levee promises to do with every kind of connection, attack and change, and the tests that show it. Made",
        "by `make behaviour` from the results of a run; nobody writes in here by hand. A number is the count of test",
        "cases (families, sides, tags and options are cases of their own). **not run** means just that. An empty cell:",
        "the line's tests need no network, or only a network.",
        "",
        f"Commit {commit()}, kernel {platform.release()}. "
        + "; ".join(f"{column}: {ages(names)}" for column, names in COLUMNS.items())
        + ".",
    ]
    for name, lines in sections().items():
        text += ["", f"## {name}", "", f"| | {' | '.join(COLUMNS)} | tests |", f"|---|{'---|' * (len(COLUMNS) + 1)}"]
        for line in lines:
            cells = [shown(cell(line, results[column], wire=column != OFF_THE_WIRE), notes) for column in COLUMNS]
            tests = ", ".join(f"`{re.sub('^lab/', '', pattern)}`" for pattern in line.patterns)
            text.append(f"| {line.what} | {' | '.join(cells)} | {tests} |")
    if notes.numbers:
        text += ["", "## Why something was not run", ""]
        text += [f"{number}. {reason}" for reason, number in notes.numbers.items()]
    return "\n".join(text) + "\n"


def main(arguments: list[str]) -> int:
    """Check the list; write the page unless only the check was asked for."""
    try:
        check([line for lines in sections().values() for line in lines])
    except WrongList as wrong:
        print(wrong, file=sys.stderr)
        return 1
    if "--check" not in arguments:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(table())
        print(f"wrote {TABLE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
