"""The command `levee`: its arguments, and how errors are shown.

Owns the argument parser. Every command is a file in commands/, imported when it is used. Exit codes are those of
exits.py: 0 done, 3 an error that was explained on stderr. Must not know what the commands do.
"""

import argparse
import importlib
import keyword
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from appliance import exits
from appliance.errors import ConfigError, OperatorError

MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 3600.0
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


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="levee", description="SYN-flood appliance.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="say everything that is wrong with a configuration")
    check.add_argument(
        "file", nargs="?", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )

    run = commands.add_parser("run", help="protect, in the foreground; SIGTERM stops, SIGHUP reads the services again")
    run.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")
    run.add_argument("-v", "--verbose", action="store_true", help="log more")

    status = commands.add_parser("status", help="how a running levee fares; exit code 0 fine, 1 attack, 2 degraded")
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, for programs")
    form.add_argument("--watch", action="store_true", help="again and again, with what is counted a second")
    status.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two screens")
    status.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    backends = commands.add_parser("backends", help="what servers were heard to announce, and how long ago")
    backends.add_argument("--json", action="store_true", help="everything, for programs")
    backends.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    moving = commands.add_parser("import", help="write a configuration from the rules of another SYN proxy")
    moving.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="an nft ruleset, iptables-save, firehol.conf; default: stdin"
    )
    moving.add_argument("-o", "--output", type=Path, metavar="FILE", help="a file to be made; default: stdout")
    moving.add_argument("--format", choices=("iptables", "nft", "firehol"), help="default: as the text looks")
    moving.add_argument("--outside", metavar="NIC", help="towards the clients; default: as the rules say")
    moving.add_argument("--inside", metavar="NIC", help="towards the servers")
    moving.add_argument("--bridge", metavar="NIC", help="write mode: bridge, with this bridge")

    commands.add_parser("version", help="the version")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
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
