"""The command `levee`: its arguments, and how errors are shown.

Owns the argument parser. Every command is a file in commands/, imported when it is used. Exit codes are those of
exits.py: 0 done, 3 an error that was explained on stderr. Must not know what the commands do.
"""

import argparse
import importlib
import keyword
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from appliance import exits, values
from appliance.errors import ConfigError, OperatorError, WrongValue

MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 3600.0
MAX_FOR_S = 10 * 365 * 86400
MAX_CONFIRM_S = 24 * 3600
DEFAULT_CONFIG = Path("/etc/levee/levee.yaml")


class Parser(argparse.ArgumentParser):
    """With our exit code for wrong arguments: argparse's own would read as "degraded"."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong, and ends the process."""
        self.print_usage(sys.stderr)
        self.exit(exits.ERROR, f"levee: error: {message}\n")


def _seconds(text: str) -> float:
    value = float(text)
    if not MIN_INTERVAL_S <= value <= MAX_INTERVAL_S:
        raise argparse.ArgumentTypeError(f"{text} is not between {MIN_INTERVAL_S:g} and {MAX_INTERVAL_S:g} seconds")
    return value


def _confirm(text: str) -> int:
    value = int(text)
    if not 0 <= value <= MAX_CONFIRM_S:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MAX_CONFIRM_S} seconds")
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    return read


def argument_parser() -> argparse.ArgumentParser:
    """Every command with its arguments; the manual page is made of it."""
    parser = Parser(prog="levee", description="SYN-flood appliance.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="say everything that is wrong with a configuration")
    check.add_argument(
        "file", nargs="?", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )

    explain = commands.add_parser("explain", help="what a configuration means, and the exact rules it makes")
    explain.add_argument(
        "file", nargs="?", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )
    part = explain.add_mutually_exclusive_group()
    part.add_argument("--service", metavar="NAME", help="only this one")
    part.add_argument("--nft", action="store_true", help="the packet rules of the nfqueue engine")
    part.add_argument("--maps", action="store_true", help="what addresses and ports are looked up in")

    run = commands.add_parser("run", help="protect, in the foreground; SIGTERM stops, SIGHUP reads the services again")
    run.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")
    run.add_argument("-v", "--verbose", action="store_true", help="log more")

    status = commands.add_parser("status", help="how a running levee fares; exit code 0 fine, 1 attack, 2 degraded")
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, for programs")
    form.add_argument("--watch", action="store_true", help="again and again, with what is counted a second")
    status.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two screens")
    status.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    stop = commands.add_parser("stop", help="end the daemon; what stays at work is on_stop's choice")
    stop.add_argument("--detach", action="store_true", help="leave nothing in the kernel, even if no daemon runs")
    stop.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")

    bypass = commands.add_parser("bypass", help="protect nobody for a while, with the configuration as it is")
    bypass.add_argument("switch", choices=("on", "off"))
    bypass.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    events = commands.add_parser("events", help="the attacks there were, and which limit they crossed")
    events.add_argument("--json", action="store_true", help="everything, for programs")
    events.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    backends = commands.add_parser("backends", help="what servers were heard to announce, and how long ago")
    backends.add_argument("--json", action="store_true", help="everything, for programs")
    backends.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    ports = commands.add_parser("ports", help="the network ports of this machine, and who is heard on each")
    ports.add_argument("--blink", metavar="PORT", help="its LED, for 5 s, where the driver can")
    ports.add_argument("--json", action="store_true", help="everything, for programs")
    ports.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    flows = commands.add_parser("flows", help="the connections through the box")
    flows.add_argument("--client", metavar="ADDRESSES", help="an address, a prefix or a range")
    flows.add_argument("--server", metavar="ADDRESSES", help="the same, of the servers")
    flows.add_argument("--port", help="of the server, or a range like 8000-8100")
    flows.add_argument("--service", metavar="NAME")
    flows.add_argument("--state", help="syn_sent, established, closed, pass (known, not translated), pass_closed")
    flows.add_argument("--limit", type=int, default=1000, metavar="NUMBER", help="of lines; default: %(default)s")
    flows.add_argument("--count", action="store_true", help="only how many there are")
    flows.add_argument("--json", action="store_true", help="one object a line, for programs")
    flows.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    _capture(commands.add_parser("capture", help="packets, with what the box did with each, and why"))

    top = commands.add_parser("top", help="the busiest services, reasons and sources, again and again")
    top.add_argument("--once", action="store_true", help="one screen")
    top.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two screens")
    top.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    screen = commands.add_parser("tui", help="the full screen: state, services, attacks, configuration, bypass")
    screen.add_argument(
        "--overview",
        action="store_true",
        help="only that, for a console before login: no client's address; Enter ends it",
    )
    screen.add_argument(
        "--interval", type=_seconds, metavar="SECONDS", help="between two looks; default: 1, on a console 2"
    )
    screen.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    menu = commands.add_parser("menu", help="the same as numbered lines, for a serial line")
    menu.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    numbers = commands.add_parser("metrics", help="the numbers for Prometheus, once or over HTTP")
    numbers.add_argument("--listen", metavar="ADDRESS:PORT", help="serve them; name the management address")
    numbers.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    moving = commands.add_parser("import", help="write a configuration from the rules of another SYN proxy")
    moving.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="an nft ruleset, iptables-save, firehol.conf; default: stdin"
    )
    moving.add_argument("-o", "--output", type=Path, metavar="FILE", help="a file to be made; default: stdout")
    moving.add_argument("--format", choices=("iptables", "nft", "firehol"), help="default: as the text looks")
    moving.add_argument("--outside", metavar="NIC", help="towards the clients; default: as the rules say")
    moving.add_argument("--inside", metavar="NIC", help="towards the servers")
    moving.add_argument("--bridge", metavar="NIC", help="write mode: bridge, with this bridge")

    _changing(commands)
    _keeping(commands)

    _block(commands.add_parser("block", help="sources that are blocked, or never to be"))
    update = commands.add_parser("update", help="another version on the bootable appliance, in its other slot")
    update.add_argument("file", type=Path, metavar="FILE", help="the .raucb file of a release")
    update.add_argument("--restart", action="store_true", help="start it at once; open connections end")
    _box(commands.add_parser("box", help="the bootable appliance itself: address, SSH keys, time, name, power"))
    commands.add_parser("version", help="the version")
    return parser


def _box(box: argparse.ArgumentParser) -> None:
    """On any other machine they change nothing, and say so."""
    actions = box.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("show", help="box.yaml as it was kept last, and what is on trial")
    for action, what in (
        ("check", "say what is wrong with a box.yaml, no more"),
        ("apply", "put a box.yaml in force for 120 s: name, management address, time servers"),
    ):
        actions.add_parser(action, help=what).add_argument("file", type=Path, metavar="FILE", help="-: stdin")
    actions.add_parser("keep", help="keep what is on trial")
    actions.add_parser("undo", help="take back what is on trial")
    keys = actions.add_parser("keys", help="the public SSH keys that may log in, or others in their place")
    keys.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a key a line; -: stdin; default: show them")
    restore = actions.add_parser("restore", help="put back what a backup holds; the daemon is away for some seconds")
    restore.add_argument("file", type=Path, metavar="FILE", help="-: stdin")
    actions.add_parser("restart", help="start the box anew; open connections end")
    actions.add_parser("shutdown", help="power off; no packet passes then")


def _capture(capture: argparse.ArgumentParser) -> None:
    """Its bounds and filters."""
    capture.add_argument("-w", "--write", type=Path, metavar="FILE", help="as pcapng; -: stdout; default: a line each")
    capture.add_argument(
        "--packets", type=_whole(1, 10**7), default=1000, metavar="NUMBER", help="default: %(default)s"
    )
    capture.add_argument(
        "--bytes", type=_whole(1, 1 << 40), default=10 << 20, metavar="NUMBER", help="written; default: %(default)s"
    )
    capture.add_argument("--seconds", type=_whole(1, 3600), default=60, metavar="NUMBER", help="default: %(default)s")
    capture.add_argument(
        "--snap", type=_whole(1, 2048), default=256, metavar="BYTES", help="kept of each frame; default: %(default)s"
    )
    capture.add_argument("--service", metavar="NAME", help="to it and from it")
    capture.add_argument("--address", metavar="ADDRESSES", help="of either end: an address, a prefix or a range")
    capture.add_argument(
        "--reason", metavar="NAMES", help="reasons of drops, with commas; also dropped, passed, translated, sent"
    )
    capture.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")


def _keeping(commands: "argparse._SubParsersAction[Parser]") -> None:
    """The commands around a backup."""
    backup = commands.add_parser("backup", help="configuration, history, learned servers, lists and secret in one file")
    backup.add_argument("file", type=Path, metavar="FILE", help="-: stdout")
    backup.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")
    backup.add_argument("--without-secret", action="store_true", help="leave the secret of the cookies out")
    restore = commands.add_parser("restore", help="put back what a backup holds, while no daemon runs")
    restore.add_argument("file", type=Path, metavar="FILE", help="-: stdin")
    restore.add_argument("--check", action="store_true", help="say what is in it and whether it is right, no more")
    for one in (backup, restore):
        one.add_argument(
            "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
        )


def _changing(commands: "argparse._SubParsersAction[Parser]") -> None:
    """The commands around a change of the configuration."""
    apply = commands.add_parser("apply", help="put the configuration in force, for good once it is confirmed")
    apply.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the file levee was started with")
    apply.add_argument(
        "--confirm",
        type=_confirm,
        default=120,
        metavar="SECONDS",
        help="go back unless `levee confirm` follows in this time; 0: no need to; default: %(default)s",
    )
    confirm = commands.add_parser("confirm", help="keep what was applied")
    rollback = commands.add_parser("rollback", help="take back what is on trial, or go back in the history")
    rollback.add_argument("number", nargs="?", type=int, metavar="N", help="of: levee history")
    rollback.add_argument("--confirm", type=_confirm, default=0, metavar="SECONDS", help="as with apply; default: 0")
    for one in (apply, rollback):
        one.add_argument("--comment", default="", metavar="TEXT", help="for the history")
    history = commands.add_parser("history", help="what was in force, since when, and by whom")
    history.add_argument("number", nargs="?", type=int, metavar="N", help="show the text of this entry")
    diff = commands.add_parser("diff", help="what the file, or an entry, would change; exit code 1: something")
    diff.add_argument("old", nargs="?", metavar="OLD", help="running (the default), file, or a number of the history")
    diff.add_argument("new", nargs="?", metavar="NEW", help="the same; default: file, after a number: running")
    for one in (apply, confirm, rollback, history, diff):
        one.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")


def _duration(text: str) -> int:
    try:
        return values.duration(1, MAX_FOR_S)(text)
    except WrongValue as error:
        raise argparse.ArgumentTypeError(f"{error.wrong}, {error.right} would be right") from error


def _block(block: argparse.ArgumentParser) -> None:
    """The longest prefix decides: an address that is allowed passes, though a prefix around it is blocked."""
    actions = block.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="block these sources; in place of what was said of the same prefix")
    add.add_argument("prefixes", nargs="+", metavar="PREFIX", help="an address or a prefix: 192.0.2.7, 2001:db8::/32")
    add.add_argument(
        "--allow", action="store_true", help="never block them: within a blocked prefix, by a limit, a trap"
    )
    add.add_argument("--for", type=_duration, default=0, dest="for_s", metavar="TIME", help="90s, 10m, 2h, 7d")
    add.add_argument("--comment", default="", metavar="TEXT", help="shown in the list")
    delete = actions.add_parser("del", help="take these entries out")
    delete.add_argument("prefixes", nargs="+", metavar="PREFIX", help="as listed")
    listed = actions.add_parser("list", help="what is blocked and allowed")
    listed.add_argument("--json", action="store_true", help="everything, for programs")
    for action in (add, delete, listed):
        action.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    chosen = argument_parser().parse_args(arguments)
    name = f"{chosen.command}_" if keyword.iskeyword(chosen.command) else chosen.command
    command = importlib.import_module(f"appliance.commands.{name}")
    try:
        code: int = command.execute(chosen)
        sys.stdout.flush()
    except OperatorError as error:
        print(explain(error), file=sys.stderr)
        return exits.ERROR
    except BrokenPipeError:
        # Who read our output has gone (`levee status | head`): what is left has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.ERROR
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return code


def explain(error: OperatorError) -> str:
    """An error as the operator reads it."""
    if isinstance(error, ConfigError):
        return error.message
    hint = f"\nlevee: hint: {error.hint}" if error.hint else ""
    return f"levee: error: {error.message}{hint}"
