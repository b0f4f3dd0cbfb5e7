"""The guide of a first set-up: which port is which, which servers were seen, and the text that comes of it.

Owns its words. Pure functions of replies of the control socket and of what was chosen; used by guide.py and menu.py.
What is proposed is the daemon's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.tui.view import edits
from appliance.tui.view.line import Line, cut, line, wrapped

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from appliance.tui.view.snapshot import Reply

SIDES = ("outside", "inside")
COMMENT = "first set-up"
NAME_COLUMNS = 12
NONE_SEEN = (
    "No server has been seen yet that is not protected already. The box learns them by watching, in services with "
    "protect: auto. Open a connection to one of them from outside: it appears here by itself."
)
OTHERS = (
    "Their other ports, and every other address, stay as they are. Connections that are older than the box may stand "
    "still until their server sends something: take a quiet hour. Nothing is applied yet."
)


def roles(machine: Reply) -> dict[str, str]:
    """Side -> port, as the configuration in force has them."""
    return {one["use"]: one["name"] for one in machine["ports"] if one["use"]}


def with_role(now: Mapping[str, str], side: str, port: str) -> dict[str, str]:
    """`port` for this side; a port of the other side changes places with it."""
    other = SIDES[1 - SIDES.index(side)]
    swapped = {other: now[side]} if now.get(other) == port and side in now else {}
    return {**now, **swapped, side: port}


def ports(machine: Reply, chosen: Mapping[str, str], width: int) -> list[Line]:
    """The ports, what is chosen for them, and what to think of it. A line's key is the port."""
    lines = [
        line(" 1 of 2  Which port is which", "title"),
        Line(),
        line(f" {'port':<{NAME_COLUMNS}}{'link':<6}{'MAC':<19}{'use':<9}heard on it", "title"),
    ]
    uses = {name: side for side, name in chosen.items()}
    for one in machine["ports"]:
        head = f" {cut(one['name'], NAME_COLUMNS - 1):<{NAME_COLUMNS}}"
        up = f"{'up' if one['up'] else 'DOWN':<6}"
        rest = f"{one['mac'] or '-':<19}{uses.get(one['name'], '-'):<9}"
        heard = cut(_heard(one, width), width - len(head) - 6 - len(rest))
        lines.append(Line(((head, "text"), (up, "good" if one["up"] else "bad"), (rest + heard, "text")), one["name"]))
    lines += [Line(), *_advice(machine, chosen, width), Line()]
    return lines + wrapped(whose(machine), width, "dim")


def whose(machine: Reply) -> str:
    """Which file holds what."""
    if machine["appliance"]:
        return (
            "levee.yaml, edited here, says what is protected. Which socket is which, management address, SSH keys and "
            "time servers are in box.yaml and authorized_keys on the partition LEVEE: any computer can edit them."
        )
    return (
        "levee.yaml, edited here, says what is protected, and between which ports. Management address, SSH keys, time "
        "and name are the affair of this machine's own system: only the bootable appliance has a file for them."
    )


def _heard(one: Reply, width: int) -> str:
    count = len(one["heard"]) + one["others"]
    shown = one["heard"][: 1 if width < 100 else None]
    more = ", ..." if count > len(shown) else ""
    return f"{count}: {', '.join(shown)}{more}" if count else "nobody yet"


def _advice(machine: Reply, chosen: Mapping[str, str], width: int) -> list[Line]:
    found = {one["name"]: one for one in machine["ports"]}
    lines = []
    for side in (one for one in SIDES if one in chosen):  # a host has one port
        port = found.get(chosen[side])
        if port is None:
            lines.append(line(f" {side}: there is no such port.", "bad"))
        elif not port["up"]:
            lines.append(
                line(f" {side}: no link. Is the cable of {port['name']} in, and is there power behind it?", "bad")
            )
    heard = [
        len(found[name]["heard"]) + found[name]["others"]
        for name in (chosen.get(side, "") for side in SIDES)
        if name in found
    ]
    if len(heard) == len(SIDES) and not lines:
        if not heard[1]:
            lines += wrapped("Nobody was heard inside yet. Are the servers on?", width, "warn")
        elif heard[0] > heard[1]:
            text = "More was heard outside than inside; a router is mostly alone. Are the two sides swapped?"
            lines += wrapped(text, width, "warn")
    return lines or [line(" outside: towards the router.  inside: towards the servers.", "good")]


def servers(proposals: Sequence[Reply], left_out: Collection[str], width: int) -> list[Line]:
    """The proposals, with a mark where they are to be protected. A line's key is the proposal's name."""
    lines = [line(" 2 of 2  Servers that were seen, as services to be protected always", "title"), Line()]
    if not proposals:
        return [*lines, *wrapped(NONE_SEEN, width)]
    lines.append(line(f"     {'service':<{NAME_COLUMNS}}addresses and ports", "title"))
    for one in proposals:
        out = one["name"] in left_out
        mark = "[ ]" if out else "[x]"
        text = cut(described(one), width - NAME_COLUMNS - 5)
        shown = f"{cut(one['name'], NAME_COLUMNS - 1):<{NAME_COLUMNS}}{text}"
        lines.append(Line(((f" {mark} ", "dim" if out else "good"), (shown, "dim" if out else "text")), one["name"]))
    lines.append(Line())
    lines += wrapped(OTHERS, width, "dim")
    return lines


def described(one: Reply) -> str:
    """Addresses and ports of a proposal."""
    return f"{', '.join(one['addresses'])}  port{'s' if len(one['ports']) > 1 else ''} {', '.join(one['ports'])}"


def text(before: str, machine: Reply, chosen: Mapping[str, str], proposed: Reply) -> str:
    """The configuration with what was chosen. `proposed`: the reply of Propose. Raises OperatorError."""
    now = roles(machine)
    for side in SIDES:
        if side in now and chosen[side] != now[side]:
            before = edits.set_key(before, (side,), chosen[side])
    for one in proposed["narrowed"]:
        listed = f"[{edits.joined(', '.join(one['addresses']))}]"
        before = edits.set_of_service(before, one["name"], {("addresses",): listed})
    for one in proposed["added"]:
        before = edits.add_service(
            before, one["name"], ", ".join(one["addresses"]), ", ".join(one["ports"]), one["protect"]
        )
    return before
