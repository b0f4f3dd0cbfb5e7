"""Small changes of the configuration as text, so that its comments and its order stay.

Owns where in the text a change goes. What comes out is checked by the daemon like any other text: a change that does
not fit what somebody wrote is refused there, with its line. Raises OperatorError where a person has to edit the text.
"""

from __future__ import annotations

import re

from appliance.errors import OperatorError

SERVICES = re.compile(r"^services:\s*(#.*)?$")
HINT = "edit the file itself: e"


def add_service(text: str, name: str, addresses: str, ports: str, protect: str) -> str:
    """A service more, behind the others."""
    lines = text.splitlines()
    first, end = _services(lines)
    indent = _indent(lines, first, end)
    listed = f"[{_joined(addresses)}]"
    served = ports.strip() if ports.strip() == "all" else f"[{_joined(ports)}]"
    added = [f"{indent}{name}:", f"{indent}  addresses: {listed}", f"{indent}  ports: {served}"]
    if protect != "always":
        added.append(f"{indent}  protect: {_quoted(protect)}")
    return "\n".join([*lines[:end], *added, *lines[end:]]) + "\n"


def set_protect(text: str, name: str, protect: str) -> str:
    """Another `protect` for a service, however it is written."""
    lines = text.splitlines()
    first, end = _services(lines)
    indent = _indent(lines, first, end)
    head = re.compile(rf"^{indent}(['\"]?){re.escape(name)}\1:(?P<rest>.*)$")
    for index in range(first, end):
        if found := head.match(lines[index]):
            break
    else:
        raise OperatorError(f"the service {name} is written in a way that is not understood here", HINT)
    rest = found["rest"].strip()
    if rest.startswith("{"):
        lines[index] = _in_braces(lines[index], protect)
        return "\n".join(lines) + "\n"
    if rest and not rest.startswith("#"):
        raise OperatorError(f"the service {name} is written in a way that is not understood here", HINT)
    last = index + 1
    while last < end and (not lines[last].strip() or lines[last].startswith(f"{indent} ")):
        last += 1
    inner = _indent(lines, index + 1, last)
    for at in range(index + 1, last):
        if re.match(rf"^{inner}protect:", lines[at]):
            lines[at] = re.sub(
                r"(protect:\s*)(\"[^\"]*\"|'[^']*'|\w+)", rf"\g<1>{_quoted(protect)}", lines[at], count=1
            )
            return "\n".join(lines) + "\n"
    lines.insert(index + 1, f"{inner}protect: {_quoted(protect)}")
    return "\n".join(lines) + "\n"


def _in_braces(text: str, protect: str) -> str:
    changed, count = re.subn(r"(\bprotect:\s*)(\"[^\"]*\"|'[^']*'|\w+)", rf"\g<1>{_quoted(protect)}", text, count=1)
    if count:
        return changed
    before, brace, after = text.rpartition("}")
    if not brace:
        raise OperatorError("a service goes over several lines in braces", HINT)
    return f"{before}, protect: {_quoted(protect)}}}{after}"


def _services(lines: list[str]) -> tuple[int, int]:
    """The lines below `services:`, from the first to behind the last that is not empty."""
    for index, one in enumerate(lines):
        if SERVICES.match(one):
            first = end = index + 1
            for at in range(first, len(lines)):
                if lines[at].strip() and not lines[at].startswith((" ", "#")):
                    break
                if lines[at].strip() and lines[at].startswith(" "):
                    end = at + 1
            return first, end
    raise OperatorError("the services are written in a way that is not understood here", HINT)


def _indent(lines: list[str], first: int, end: int) -> str:
    for one in lines[first:end]:
        if one.strip() and not one.strip().startswith("#"):
            return one[: len(one) - len(one.lstrip())]
    return "  "


def _joined(text: str) -> str:
    """`a b, c` as `a, b, c`; an address with colons needs quotes."""
    parts = [part for part in re.split(r"[\s,]+", text.strip("[] ")) if part]
    return ", ".join(f'"{part}"' if ":" in part else part for part in parts)


def _quoted(protect: str) -> str:
    return '"off"' if protect == "off" else protect
