"""Strict YAML: one document of plain values in which every key and every value has its line and column.

Owns the rules of the syntax: YAML 1.2 booleans in lower case only, decimal whole numbers without leading zeros, no
sexagesimal numbers, no dates, no anchors, no tags, no merge keys, no duplicate keys, a bounded depth. PyYAML only
splits the text into events; what a scalar means is decided here. Called by config.py, and by the terminal interface to
find a place. Must not know any key's name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import yaml

from appliance.errors import Problem

MAX_DEPTH = 16
WHOLE_DOCUMENT = "configuration"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """The values of one document, where each of them stands, and what is wrong with its syntax."""

    value: object
    values: Mapping[Path, Mark]
    keys: Mapping[Path, Mark]
    problems: tuple[Problem, ...]

    def mark(self, path: Path) -> Mark:
        """Where the value at `path` stands, or the nearest thing around it that has a place."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Mark(1, 1))

    def key_mark(self, path: Path) -> Mark:
        """Where the key at `path` stands; list items and the document itself have no key, so their own place."""
        return self.keys.get(path) or self.mark(path)


def dotted(path: Path) -> str:
    """`("services", "web", "ports", 2)` as `services.web.ports[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or WHOLE_DOCUMENT


# YAML 1.2.2 section 5.1, c-printable.
UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?\Z")

# What libyaml says, and what an operator can do about it.
SYNTAX_HINTS = {
    "found character that cannot start any token": "spaces for indentation and quotes around special characters",
    "mapping values are not allowed in this context": "equal indentation, and quotes around text with ': ' in it",
    "did not find expected key": "the indentation of the keys around it",
    "could not find expected ':'": "`key: value` on each line",
    "found unexpected end of stream": "a closing quote",
    "did not find expected ',' or ']'": "a comma or a closing bracket before this place",
    "did not find expected ',' or '}'": "a comma or a closing brace before this place",
}


class _SyntaxProblem(Exception):
    """Ends the reading of a document that cannot be understood any further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.wrong)
        self.problem = problem


def resolve(text: str) -> object:
    """The value of a plain scalar: None, bool, int, float, else the text as it stands."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if WHOLE.match(text) and len(text) <= 20:
        return int(text)
    if FLOAT.match(text):
        return float(text)
    return text


def _mark(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


class _Builder:
    """Turns PyYAML's events into values; one use each."""

    def __init__(self, events: Iterator[yaml.Event], problems: list[Problem]) -> None:
        self._events = events
        self.problems = problems
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}

    def document(self) -> object:
        """The value of the only document; an empty file gives None."""
        self._next()  # stream start
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self.value(self._next(), ())
        self._next()  # document end
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            self._stop(event, (), "a second document begins here", "one document in the file")
        return value

    def _next(self) -> yaml.Event:
        return next(self._events)

    def _problem(self, event: yaml.Event, path: Path, wrong: str, right: str) -> Problem:
        mark = _mark(event)
        return Problem(mark.line, mark.column, dotted(path), wrong, f"{right} would be right")

    def _stop(self, event: yaml.Event, path: Path, wrong: str, right: str) -> NoReturn:
        raise _SyntaxProblem(self._problem(event, path, wrong, right))

    def value(self, event: yaml.Event, path: Path) -> object:
        """The value that begins with `event`; what follows of it is taken from the events."""
        self.values[path] = _mark(event)
        if isinstance(event, yaml.AliasEvent):
            self.problems.append(
                self._problem(event, path, f"the alias *{event.anchor} is not allowed", "the value written out")
            )
            return None
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self.problems.append(
                self._problem(event, path, f"the anchor &{event.anchor} is not allowed", "the value alone")
            )
        if tag := getattr(event, "tag", None):
            self.problems.append(self._problem(event, path, f"the tag {tag} is not allowed", "the value alone"))
        if len(path) > MAX_DEPTH:
            self._stop(event, path[:3], f"is nested deeper than {MAX_DEPTH} levels", "a flat value")
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "")
            return resolve(event.value) if plain else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> tuple[object, ...]:
        items: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self.value(event, (*path, len(items))))
        return tuple(items)

    def _mapping(self, path: Path) -> dict[str, object]:
        items: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            mark = _mark(event)
            key = self._key(event, path)
            first = self.keys.get((*path, key)) if key is not None else None
            if key is None or first is not None:
                # Its value is still read, for the places of the errors in it, but not kept.
                shadow = _Builder(self._events, self.problems)
                shadow.value(self._next(), (*path, key or "?"))
                if key is not None and first is not None:
                    wrong = f"is given twice (first in line {first.line})"
                    self.problems.append(self._problem(event, (*path, key), wrong, "one of them"))
                continue
            self.keys[*path, key] = mark
            items[key] = self.value(self._next(), (*path, key))
        return items

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """The text of a key, or None (and a problem) for what cannot be one."""
        if not isinstance(event, yaml.ScalarEvent):
            self._stop(event, path, "has a list or mapping as a key", "a name as the key, and quotes around text")
        key = resolve(event.value) if event.style in (None, "") else event.value
        if event.value == "<<":
            wrong, right = "the merge key << is not allowed", "the keys written out"
        elif not isinstance(key, str):
            wrong, right = f"the key {event.value or '(empty)'} is not text", f'a name, or "{event.value}" in quotes'
        else:
            return key
        self.problems.append(self._problem(event, path, wrong, right))
        return None


def parse(text: str) -> Document:
    """Reads one YAML document.

    Never raises on what the text holds: `Document.problems` has every mistake of syntax, and the values are
    complete unless the last of these problems ended the reading (then `value` is None).
    """
    if match := UNPRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        problem = Problem(
            line, column, WHOLE_DOCUMENT, f"holds the control character {match.group()!r}", "plain text would be right"
        )
        return Document(None, {}, {}, (problem,))
    builder = _Builder(yaml.parse(text, Loader=yaml.CSafeLoader), [])
    value: object = None
    try:
        value = builder.document()
    except _SyntaxProblem as stop:
        builder.problems.append(stop.problem)
    except yaml.MarkedYAMLError as error:
        builder.problems.append(_syntax_problem(error))
    return Document(value, builder.values, builder.keys, tuple(builder.problems))


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    said = error.problem or str(error)
    hint = SYNTAX_HINTS.get(said, "YAML as in the example configurations")
    return Problem(line, column, WHOLE_DOCUMENT, f"is not valid YAML ({said})", f"{hint} would be right")
