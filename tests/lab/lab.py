#!/usr/bin/env python3
"""The lab: three namespaces with the appliance between two ends, up until taken down.

    lab.py up --mode bridge|routed|host --engine auto|bpf|nfqueue [--config FILE]
    lab.py down
    lab.py status

    bridge
      levee-client                   levee-box                       levee-server
      +-----------------+     +-----------------------+     +---------------------+
      |            eth0 |-----| outside -br0- inside  |-----| eth0                |
      +-----------------+     +-----------------------+     +---------------------+
      198.18.0.1-250/15         no address                   198.19.0.1-250/15
      2001:db8:18::1/64                                      2001:db8:18::19:1/64

    routed
      +-----------------+     +-----------------------+     +---------------------+
      |            eth0 |-----| outside       inside  |-----| eth0                |
      +-----------------+     +-----------------------+     +---------------------+
      198.18.0.1-250/16       198.18.255.254    198.19.255.254   198.19.0.1-250/16
      2001:db8:18::1/64       2001:db8:18::fe  2001:db8:19::fe   2001:db8:19::1/64

    host: the server's addresses are on `outside` of the box; levee-server has none.

There is no default route and no uplink. Inside the box `levee status --json` answers:

    ip netns exec levee-box levee status --json

Standard library only, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from netlab import control
from netlab.names import names_from_environment
from netlab.process import LabError
from netlab.topology import Mode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="the network lab of levee", formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="bring the lab up and leave it up")
    up.add_argument("--mode", choices=[mode.value for mode in Mode], default=Mode.BRIDGE.value)
    up.add_argument("--engine", choices=[*control.ENGINES, control.NO_ENGINE], default="auto")
    up.add_argument("--config", type=Path, metavar="FILE", help="instead of the default one")
    verbs.add_parser("down", help="remove the lab and everything in it")
    verbs.add_parser("status", help="say what is up")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    names = names_from_environment()
    try:
        if arguments.verb == "up":
            new = control.up(names, Mode(arguments.mode), arguments.engine, arguments.config)
            print(f"lab {'is up' if new else 'was up already'}: {control.describe(names)}")
            print(f"namespaces: {' '.join(names.namespaces)}")
        elif arguments.verb == "down":
            print("lab removed" if control.down(names) else "no lab was up")
        else:
            print(control.describe(names))
    except LabError as error:
        print(f"lab: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
