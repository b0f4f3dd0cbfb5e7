"""The box itself, beside its daemon: name, management address, time, SSH keys; and what can be done to it.

Owns the page, the fields of its form, and where they stand in box.yaml. What is right is the box's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from appliance.tui.view import edits
from appliance.tui.view.frame import BOX, PENDING
from appliance.tui.view.line import Line, cut, line, titled, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.errors import Problem
    from appliance.tui.view.snapshot import Snapshot


class Setting(NamedTuple):
    """A key of box.yaml that the form asks for."""

    name: str
    label: str
    hint: str
    path: edits.Path


SETTINGS = (
    Setting("name", "Name", "levee-1; empty: levee", ("name",)),
    Setting("address", "Address", "192.0.2.10/24; empty: none, and no SSH", ("management", "address")),
    Setting("gateway", "Gateway", "192.0.2.1; empty: none", ("management", "gateway")),
    Setting("port", "Port", "a MAC, or a path; empty: the third one", ("management", "port")),
    Setting("ntp", "Time servers", "192.0.2.1, 192.0.2.2; empty: none", ("management", "ntp")),
)
MOST_KEYS = 7  # that a form has room for
ELSEWHERE = "This is not the bootable appliance: address, keys, time and power are its system's own, changed as root."
AT_THE_DOOR = "There is no password: who can touch the box operates it, and SSH takes keys alone."


def values(text: str) -> dict[str, str]:
    """What box.yaml says, by the names of the fields. Raises OperatorError for a file that a person has to edit."""
    return {one.name: edits.value_of(text, one.path) for one in SETTINGS}


def changed(text: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """box.yaml with what the form says now. Raises OperatorError."""
    for one in SETTINGS:
        if after[one.name] != before[one.name]:
            text = edits.set_key(text, one.path, _written(one.name, after[one.name]))
    return text


def _written(name: str, value: str) -> str:
    plain = value.strip("'\"")
    if not plain:
        return ""
    if name == "ntp":
        return f"[{edits.joined(plain)}]"
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def wrong(problems: Sequence[Problem]) -> dict[str, tuple[str, str]]:
    """For each field what is wrong with it, and what would be right; what belongs to none is said at the address."""
    by_key = {".".join(one.path): one.name for one in SETTINGS}
    return {by_key.get(one.key, "address"): (one.wrong, one.right) for one in reversed(problems)}


def page(snapshot: Snapshot, width: int) -> list[Line]:
    """What it is set to, and what can be done; a line with a key does it."""
    box = snapshot.box
    if not box:
        return [line(" asking ...", "dim")]
    lines = [line(" The box itself", "title"), Line()]
    if box["here"]:
        set_to = values(box["settings"])
        lines += [titled(f" {one.label:<13}", cut(set_to[one.name] or "-", width - 20)) for one in SETTINGS]
        lines.append(titled(f" {'SSH keys':<13}", str(len(box["keys"]))))
        if box["left_s"] is not None:
            keys = "   ".join(f"{one.key}: {one.what.lower()}" for one in PENDING)
            lines += [Line(), line(f" ANOTHER ADDRESS ON TRIAL: back in {box['left_s']} s   {keys}", "warn")]
        lines += [Line(), *wrapped(AT_THE_DOOR, width, "dim")]
    else:
        lines += wrapped(ELSEWHERE, width, "warn")
    lines.append(Line())
    for one in BOX:
        text = cut(f"{one.what:<30}{one.command}", width - 4)
        lines.append(Line(((f" {one.key}", "key"), (f"  {text}", "text")), one.key))
    return lines
