"""The demo's order of events: web clients and a spoofed flood, first without protection, then with Levee.

    levee-client                levee-box                 levee-server
    4 x curl, over and over --> nothing, then Levee  -->  nginx, no SYN cookies
    forged SYNs             -->                      -->  counted at the interface

Two labs, one after the other, differ only in what runs in the box. In each the clients have some quiet
seconds, then the flood begins. Shown live, then as a table and as a plot. The verdict is the exit code:
0 when not one forged packet came through Levee and no client failed behind it.

Owns the order of events. measure.py measures, screen.py and plot.py show.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from netlab import control, flood
from netlab.names import REPOSITORY, Names, names_from_environment
from netlab.process import LabError
from netlab.topology import Mode

from appliance.errors import OperatorError
from demo import measure, plot, screen
from demo.measure import Phase

PICTURE = REPOSITORY / ".build/demo/demo.png"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a spoofed flood, without and with Levee")
    parser.add_argument("--mode", choices=[Mode.BRIDGE.value, Mode.ROUTED.value], help="default: bridge where it works")
    parser.add_argument("--rate", type=int, default=50_000, help="forged SYNs a second (default 50000)")
    parser.add_argument("--quiet", type=int, default=6, help="seconds before the flood (default 6)")
    parser.add_argument("--flood", type=int, default=20, help="seconds of flood (default 20)")
    parser.add_argument("--picture", type=Path, default=PICTURE, help=f"PNG to write (default {PICTURE})")
    return parser.parse_args()


def _mode(chosen: str | None, names: Names) -> tuple[Mode, str]:
    """The mode, and why it is not bridge mode when it is not: found out by bringing it up."""
    if chosen:
        return Mode(chosen), ""
    try:
        control.up(names, Mode.BRIDGE, "auto")
    except LabError as error:
        lines = error.message.splitlines()
        said = next((line for line in lines if "error:" in line), lines[0])
        return Mode.ROUTED, f"not bridge mode: {said.strip()}"
    return Mode.BRIDGE, ""


def run(arguments: argparse.Namespace, names: Names) -> bool:
    flood.compiled()
    mode, reason = _mode(arguments.mode, names)
    screen.introduce(mode, reason, arguments.rate)
    phases: list[Phase] = []
    with tempfile.TemporaryDirectory(prefix="levee-demo-") as directory, screen.Screen() as live:
        for title, engine in (("without protection", control.NO_ENGINE), ("with Levee", "auto")):
            live.say(f"{title}: building the network")
            control.down(names)
            control.up(names, mode, engine)
            live.tell(measure.engine(names))
            setting = measure.Setting(names, mode, Path(directory), arguments.rate, arguments.quiet, arguments.flood)
            phases.append(measure.run_phase(setting, title, live.show))
    screen.print_table(phases)
    plot.draw(phases, arguments.picture)
    print(f"plot: {arguments.picture}")
    return screen.print_verdict(phases)


def main() -> int:
    arguments = _arguments()
    names = names_from_environment("levee-demo")  # a lab of its own: one that is up stays as it is
    try:
        return 0 if run(arguments, names) else 1
    except (LabError, OperatorError) as error:
        print(f"demo: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        if os.geteuid() == 0:
            control.down(names)
