"""The command `levee`: its arguments, and how errors are shown.

Owns the argument parser and the exit codes: 0 done, 1 an error that was explained on stderr, 2 wrong arguments. Every
command is a file in commands/, imported when it is used. Must not know what the commands do.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ConfigError, OperatorError

DEFAULT_CONFIG = Path("/etc/levee/levee.yaml")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="levee", description="SYN-flood appliance.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="say everything that is wrong with a configuration")
    check.add_argument(
        "file", nargs="?", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )

    run = commands.add_parser("run", help="protect, in the foreground; SIGTERM stops, SIGHUP reads the services again")
    run.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")
    run.add_argument("-v", "--verbose", action="store_true", help="log more")

    status = commands.add_parser("status", help="how a running levee fares")
    status.add_argument("--json", action="store_true", help="everything, for programs")
    status.add_argument("--socket", type=Path, metavar="PATH", help="of the daemon; default: LEVEE_SOCKET")

    commands.add_parser("version", help="the version")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    command = importlib.import_module(f"appliance.commands.{chosen.command}")
    try:
        code: int = command.execute(chosen)
        sys.stdout.flush()
    except OperatorError as error:
        print(explain(error), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Who read our output has gone (`levee status | head`): what is left has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell says it: 128 + SIGINT
    return code


def explain(error: OperatorError) -> str:
    """An error as the operator reads it."""
    if isinstance(error, ConfigError):
        return error.message
    hint = f"\nlevee: hint: {error.hint}" if error.hint else ""
    return f"levee: error: {error.message}{hint}"
