"""Small changes of the configuration as text, so that its comments, its order and its style stay.

Owns where in the text a change goes: the strict reader says where keys and values stand, however they are written. What
comes out is checked by the daemon like any other text: a change that is wrong is refused there, with its line. Raises
OperatorError where a person has to edit the text. Must not know what a key means.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from appliance.errors import OperatorError
from appliance.yamldoc import Document, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str, ...]
HINT = "edit the file itself: e"
PLAIN_END = {True: re.compile(r"\s*(?:[,\]}\n]|\s#|$)"), False: re.compile(r"\s*(?:\n|\s#|$)")}  # by: in braces
CLOSING = {"{": "}", "[": "]"}


class _Text(NamedTuple):
    """A text and what the strict reader found in it."""

    text: str
    document: Document

    def value(self, path: Path) -> object:
        found = self.document.value
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def at(self, path: Path, *, key: bool = False) -> int:
        """Where the value at `path`, or its key, begins: a number of characters."""
        mark = self.document.keys[path] if key else self.document.values[path]
        return _line_start(self.text, mark.line) + mark.column - 1

    def braces(self, path: Path) -> bool:
        """Whether the mapping at `path` is written in braces."""
        return self.text[self.at(path) : self.at(path) + 1] == "{"

    def in_braces(self, path: Path) -> bool:
        """Whether what stands at `path` is inside of braces."""
        return any(self.braces(path[:length]) for length in range(len(path)))

    def end(self, path: Path) -> int:
        """Behind the value at `path`. Raises OperatorError for one that goes over several lines without brackets."""
        start = self.at(path)
        first = self.text[start : start + 1]
        if first in CLOSING:
            return _closing(self.text, start)
        if first in ("'", '"'):
            return _quoted_end(self.text, start)
        if isinstance(self.value(path), dict | tuple):
            raise _not_understood(".".join(path))
        found = PLAIN_END[self.in_braces(path)].search(self.text, start)
        return found.start() if found else len(self.text)


def add_service(text: str, name: str, addresses: str, ports: str, protect: str) -> str:
    """A service more, behind the others."""
    served = ports.strip() if ports.strip() == "all" else f"[{joined(ports)}]"
    lines = [f"addresses: [{joined(addresses)}]", f"ports: {served}"]
    if protect != "always":
        lines.append(f"protect: {_quoted(protect)}")
    found = _read(text)
    if not isinstance(found.value(("services",)), dict) or not found.value(("services",)):
        raise _not_understood("services")
    if found.braces(("services",)):
        return _put_in(found, ("services", name), f"{{{', '.join(lines)}}}")
    at, indent = _block_end(found, ("services",))
    block = "".join(f"\n{indent}  {one}" for one in lines)
    return f"{text[:at]}\n{indent}{name}:{block}{text[at:]}"


def set_protect(text: str, name: str, protect: str) -> str:
    """Another `protect` for a service, however it is written."""
    return set_of_service(text, name, {("protect",): _quoted(protect)})


def set_of_service(text: str, name: str, values: Mapping[Path, str]) -> str:
    """Other values for keys of a service, as YAML text; an empty one takes its key away."""
    if not isinstance(_read(text).value(("services", name)), dict):
        raise _not_understood(f"the service {name}")
    for path, value in values.items():
        text = set_key(text, ("services", name, *path), value)
    return text


def set_key(text: str, path: Path, value: str) -> str:
    """The value at `path`; "" takes its key away, and a mapping with it that holds nothing else."""
    found = _read(text)
    if path in found.document.keys:
        if not value:
            return _without(found, path)
        if isinstance(found.value(path), tuple) and text[found.at(path) : found.at(path) + 1] == "-":
            return _in_place_of_a_list(found, path, value)
        start, end = found.at(path), found.end(path)
        gap = " " if text[start - 1 : start] == ":" else ""  # a key without a value
        return f"{text[:start]}{gap}{value}{text[end:]}"
    if not value:
        return text
    if not isinstance(found.value(path[:-1]), dict):
        return set_key(text, path[:-1], f"{{{path[-1]}: {value}}}")
    return _put_in(found, path, value)


def value_of(text: str, path: Path) -> str:
    """The value at `path` as a form shows it: a scalar, or scalars with commas; "" where there is none."""
    found = _read(text).value(path)
    if isinstance(found, tuple):
        return ", ".join(str(one) for one in found)
    return "" if found is None or isinstance(found, dict) else str(found)


def change_service(text: str, name: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Other addresses, ports and protection for a service, as a form had them and has them now."""
    ports = after["ports"].strip("[] ")
    written: dict[Path, str] = {
        ("addresses",): f"[{joined(after['addresses'])}]",
        ("ports",): ports if ports == "all" else f"[{joined(ports)}]",
        ("protect",): _quoted(after["protect"]),
    }
    changed = {path: value for path, value in written.items() if before[path[0]] != after[path[0]]}
    return set_of_service(text, name, changed)


def joined(text: str) -> str:
    """`a b, c` as `a, b, c`; an address with colons needs quotes."""
    parts = [part for part in re.split(r"[\s,]+", text.strip("[] ")) if part]
    return ", ".join(f'"{part}"' if ":" in part else part for part in parts)


def _quoted(protect: str) -> str:
    return '"off"' if protect == "off" else protect


def _read(text: str) -> _Text:
    document = parse(text)
    if document.problems or not isinstance(document.value, dict):
        raise _not_understood("the file")
    return _Text(text, document)


def _not_understood(what: str) -> OperatorError:
    return OperatorError(f"{what}: is written in a way that is not understood here", HINT)


def _put_in(found: _Text, path: Path, value: str) -> str:
    """A key more, the last of its mapping."""
    text, parent = found.text, path[:-1]
    if not found.braces(parent):
        at, indent = _block_end(found, parent)
        return f"{text[:at]}\n{indent}{path[-1]}: {value}{text[at:]}"
    start, end = found.at(parent), found.end(parent) - 1
    if not found.value(parent):
        return f"{text[:start]}{{{path[-1]}: {value}}}{text[end + 1 :]}"
    if "\n" in text[start:end]:  # a comment may stand before the brace
        return f"{text[: start + 1]}{path[-1]}: {value}, {text[start + 1 :]}"
    inner = text[start:end].rstrip().rstrip(",")
    return f"{text[:start]}{inner}, {path[-1]}: {value}{text[end:]}"


def _in_place_of_a_list(found: _Text, path: Path, value: str) -> str:
    """A list with an item on each line gives way, unless somebody has written comments to them."""
    text, start = found.text, found.at(path)
    colon = text.index(":", found.at(path, key=True) + len(path[-1])) + 1
    line = text.rfind("\n", 0, start) + 1
    end = _below(text, line, start - line, same="-")
    if "#" in text[colon:end]:
        raise _not_understood(".".join(path))
    return f"{text[:colon]} {value}{text[end:]}"


def _without(found: _Text, path: Path) -> str:
    """Without the key at `path` and its value."""
    text, parent = found.text, path[:-1]
    siblings = found.value(parent)
    if parent and isinstance(siblings, dict) and len(siblings) == 1:
        return _without(found, parent)
    start = found.at(path, key=True)
    if not found.braces(parent):
        line = text.rfind("\n", 0, start) + 1
        end = _below(text, line, start - line)
        return f"{text[:line]}{text[end + 1 :]}"
    before, after = text[:start], text[found.end(path) :]
    following = re.match(r"\s*,[ \t]*", after)
    return f"{before}{after[following.end() :]}" if following else f"{before.rstrip().rstrip(',')}{after}"


def _block_end(found: _Text, path: Path) -> tuple[int, str]:
    """Behind the last line of a mapping that is not in braces, and what its keys are indented with."""
    start = found.at(path)
    line = found.text.rfind("\n", 0, start) + 1
    end = _below(found.text, line, start - line, same="")
    return end, found.text[line:start]


def _below(text: str, line: int, indent: int, *, same: str | None = None) -> int:
    """The end of the last line that belongs to the one at `line`: deeper, or as deep and beginning with `same`."""
    last = at = _line_end(text, line)
    while at < len(text):
        begin, at = at + 1, _line_end(text, at + 1)
        one = text[begin:at]
        stripped = one.lstrip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        depth = len(one) - len(stripped)
        if depth < indent or (depth == indent and (same is None or not stripped.startswith(same))):
            break
        last = at
    return last


def _line_start(text: str, number: int) -> int:
    at = 0
    for _ in range(number - 1):
        at = text.index("\n", at) + 1
    return at


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return len(text) if found < 0 else found


def _quoted_end(text: str, start: int) -> int:
    quote, at = text[start], start + 1
    while at < len(text):
        if text[at] == "\\" and quote == '"':
            at += 1
        elif text[at] == quote:
            if quote == '"' or text[at + 1 : at + 2] != "'":
                return at + 1
            at += 1
        at += 1
    return at


def _closing(text: str, start: int) -> int:
    """Behind the bracket that belongs to the one at `start`; those in quotes and comments are text."""
    depth, at = 0, start
    while at < len(text):
        one = text[at]
        if one in "'\"":
            at = _quoted_end(text, at)
            continue
        if one == "#" and text[at - 1].isspace():
            at = _line_end(text, at)
        depth += (one in "{[") - (one in "}]")
        at += 1
        if depth == 0:
            break
    return at
