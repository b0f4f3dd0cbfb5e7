"""Command line of the guest; `make guest` and people call it through tests/guest/guest.

    guest build                      install, unpack and compile what is missing
    guest run [OPTIONS] -- COMMAND   run a command in a fresh guest; its exit code is ours
    guest test [-- PYTEST-ARGUMENTS] run the lab's tests in bridge mode in a fresh guest
    guest clean                      remove the cache

Exit codes of its own: 125 the guest could not do what was asked, 130 stopped by a signal.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from guest.boot import run_in_guest
from guest.layout import CACHE, OUT_IN_GUEST, GuestError, Layout, locked, say
from guest.machine import DEFAULT_MEMORY_MIB
from guest.mirror import SUITE
from guest.product import install_product
from guest.userland import ensure_built, remove_others, with_kernel_of

KERNELS = ("bookworm", SUITE)  # Linux 6.1 and 6.12: the oldest one that is served, and the guest's own
_RUN_LIMIT_S = 600
# Boot and tests take less than six minutes on two cores of their own; this is for cores that are shared.
_TEST_LIMIT_S = 1400
_JUNIT = "junit.xml"
# What the lab's tests take from their environment. Emulation is slow: smaller volumes than natively,
# unless the caller's environment asks for others.
_LAB_PREFIX = "LEVEE_LAB_"
_LAB_DEFAULTS = {
    "LEVEE_LAB_MODE": "bridge",
    "LEVEE_LAB_ENGINE": "nfqueue",
    "LEVEE_LAB_FILE_MIB": "32",
    "LEVEE_LAB_FLOOD_SYNS": "50000",
}

# What differs by mode and kernel: connections from their first to their last packet, resets, restarts, VLANs, floods.
# Left out: what proves packet logic alike in every mode (deep), repetitions that are only long here, a comparison of
# speeds, which emulation distorts, the flood that cannot fill the half-open cache at the emulated rate, and one family
# where what matters is time, not packets.
_LONG = ("hundred_connections", "flood_of_each_kind", "refused_as_fast", "half_open_stays")
_ONE_FAMILY = "not (ipv6 and (test_life or test_restart))"
_DEFAULT_TESTS = [
    *(f"tests/lab/test_{name}.py" for name in ("traffic", "vlan", "wire", "life", "restart", "resets", "flood")),
    *("-m", "not deep", "-k", " and ".join((*(f"not {name}" for name in _LONG), _ONE_FAMILY))),
]


def _kernel_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernel", default=SUITE, choices=KERNELS, help="that of another suite, default: %(default)s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="guest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="install, unpack and compile what is missing")
    verbs.add_parser("clean", help="remove the cache")
    run = verbs.add_parser("run", help="run a command in a fresh guest")
    run.add_argument("--time-limit", type=float, default=_RUN_LIMIT_S, metavar="SECONDS")
    run.add_argument("--memory", type=int, default=DEFAULT_MEMORY_MIB, metavar="MIB")
    run.add_argument("--bare", action="store_true", help="without bringing the product up to date")
    _kernel_option(run)
    run.add_argument("command", nargs="+", metavar="COMMAND")
    test = verbs.add_parser("test", help="run the lab's tests in bridge mode in a fresh guest")
    test.add_argument("--junitxml", type=Path, metavar="FILE", help="results, as pytest writes them")
    test.add_argument("--time-limit", type=float, default=_TEST_LIMIT_S, metavar="SECONDS")
    _kernel_option(test)
    test.add_argument("pytest", nargs="*", default=_DEFAULT_TESTS, metavar="PYTEST-ARGUMENT")
    return parser.parse_args()


def _built(*, bare: bool = False, kernel: str = SUITE) -> Layout:
    begin = time.monotonic()
    layout = with_kernel_of(ensure_built(), kernel)
    if not bare:
        install_product(layout)
    say(f"ready after {time.monotonic() - begin:.1f} s")
    return layout


def _run(arguments: argparse.Namespace) -> int:
    return run_in_guest(
        _built(bare=arguments.bare, kernel=arguments.kernel),
        arguments.command,
        limit_s=arguments.time_limit,
        memory_mib=arguments.memory,
    )


def _test(arguments: argparse.Namespace) -> int:
    layout = _built(kernel=arguments.kernel)
    asked = {name: value for name, value in os.environ.items() if name.startswith(_LAB_PREFIX)}
    settings = [f"{name}={value}" for name, value in (_LAB_DEFAULTS | asked).items()]
    pytest = [".venv/bin/pytest", f"--junitxml={OUT_IN_GUEST / _JUNIT}", *arguments.pytest]
    code = run_in_guest(
        layout, ["env", *settings, *pytest], limit_s=arguments.time_limit, memory_mib=DEFAULT_MEMORY_MIB
    )
    if arguments.junitxml is not None and (layout.out / _JUNIT).exists():
        shutil.copy(layout.out / _JUNIT, arguments.junitxml)
    return code


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
            case "run":
                return _run(arguments)
            case _:
                return _test(arguments)


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
