"""Command line of the guest; `make guest` and people call it through tests/guest/guest.

    guest build                      install, unpack and compile what is missing
    guest run [OPTIONS] -- COMMAND   run a command in a fresh guest; its exit code is ours
    guest test [-- PYTEST-ARGUMENTS] run the lab's tests in bridge mode in a fresh guest
    guest clean                      remove the cache
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from guest.boot import run_in_guest
from guest.layout import CACHE, GuestError, Layout, locked, say
from guest.machine import DEFAULT_MEMORY_MIB
from guest.product import install_product
from guest.userland import ensure_built, remove_others

_RUN_LIMIT_S = 600
_TEST_LIMIT_S = 340


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="guest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="install, unpack and compile what is missing")
    verbs.add_parser("clean", help="remove the cache")
    run = verbs.add_parser("run", help="run a command in a fresh guest")
    run.add_argument("--time-limit", type=float, default=_RUN_LIMIT_S, metavar="SECONDS")
    run.add_argument("--memory", type=int, default=DEFAULT_MEMORY_MIB, metavar="MIB")
    run.add_argument("--bare", action="store_true", help="without bringing the product up to date")
    run.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args()


def _built(*, bare: bool = False) -> Layout:
    begin = time.monotonic()
    layout = ensure_built()
    if not bare:
        install_product(layout)
    say(f"ready after {time.monotonic() - begin:.1f} s")
    return layout


def _main() -> int:
    arguments = _arguments()
    with locked():
        match arguments.verb:
            case "clean":
                remove_others(keep=None)
                return 0
            case "build":
                _built()
                return 0
            case _:
                return run_in_guest(
                    _built(bare=arguments.bare),
                    arguments.command,
                    limit_s=arguments.time_limit,
                    memory_mib=arguments.memory,
                )


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # A terminated run takes QEMU and all chroots down with it on its way out.
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        sys.exit(_main())
    except GuestError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        sys.exit(125)
    except KeyboardInterrupt:
        say(f"stopped; what is cached in {CACHE} stays")
        sys.exit(130)
