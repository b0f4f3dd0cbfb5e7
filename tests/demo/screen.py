"""The demo in a terminal: a block that is redrawn; without a terminal one line a second. The table.

Knows phases and samples, not how they were measured.
"""

from __future__ import annotations

import shutil
import sys
from types import TracebackType

from demo.measure import Phase, Sample, median_ms

BARS = " ▁▂▃▄▅▆▇█"
LABEL_WIDTH = 30
VALUE_WIDTH = 10


def introduce(mode: str, reason: str, rate_pps: int) -> None:
    print(f"Levee demo: 4 web clients, nginx, and {rate_pps} forged SYNs a second. Mode: {mode}.")
    if reason:
        print(f"  ({reason})")
    print("  The server's own SYN cookies are off: this is what a SYN flood does where nothing stops it.")


def graph(values: list[float], width: int) -> str:
    shown = values[-width:]
    top = max([*shown, 1.0])
    return "".join(BARS[min(8, round(value / top * 8))] for value in shown)


class Screen:
    """Redraws itself on a terminal; elsewhere prints one line for every second sample."""

    def __init__(self) -> None:
        self._tty = sys.stdout.isatty()
        self._drawn = 0
        self._phase: Phase | None = None

    def __enter__(self) -> Screen:
        if self._tty:
            print("\x1b[?25l", end="")  # no cursor
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._tty:
            print("\x1b[?25h", end="", flush=True)

    def say(self, text: str) -> None:
        self._drawn = 0
        print(f"\n{text} ...", flush=True)

    def tell(self, text: str) -> None:
        if text:
            print(f"  {text}", flush=True)

    def show(self, phase: Phase, sample: Sample, absorbed: int) -> None:
        if self._tty:
            self._draw(phase, sample, absorbed)
        elif len(phase.samples) % 2 == 0:
            print(_line(phase, sample, absorbed), flush=True)

    def _draw(self, phase: Phase, sample: Sample, absorbed: int) -> None:
        reached = sum(each.reached for each in phase.samples)
        state = "FLOOD" if sample.flooding else "quiet"
        rows = [
            f"{phase.title.upper()}   {state}   {sample.at_s:5.1f} s",
            _row(
                "requests a second",
                f"{sample.done / sample.length_s:.0f}",
                [s.done / s.length_s for s in phase.samples],
            ),
            _row(
                "failed requests a second",
                f"{sample.failed / sample.length_s:.0f}",
                [s.failed / s.length_s for s in phase.samples],
            ),
            _row(
                "latency, median", _ms(median_ms(sample.requests)), [median_ms(s.requests) or 0 for s in phase.samples]
            ),
            _row(
                "forged SYNs absorbed", str(absorbed) if phase.protected else "-", [s.absorbed for s in phase.samples]
            ),
            _row("forged SYNs at the server", str(reached), [s.reached for s in phase.samples]),
        ]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        print(up + "\n".join(f"\x1b[2K{row}" for row in rows), flush=True)
        self._drawn = len(rows)


def _row(label: str, value: str, values: list[float]) -> str:
    width = shutil.get_terminal_size().columns - LABEL_WIDTH - VALUE_WIDTH - 5
    return f"  {label:<{LABEL_WIDTH}}{value:>{VALUE_WIDTH}}  {graph(values, max(1, width))}"


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} ms"


def _line(phase: Phase, sample: Sample, absorbed: int) -> str:
    recent = phase.samples[-2:]
    length_s = sum(each.length_s for each in recent)
    requests = tuple(request for each in recent for request in each.requests)
    took_in = f"absorbed {absorbed}  " if phase.protected else ""
    return (
        f"{sample.at_s:5.1f} s  {'FLOOD' if sample.flooding else 'quiet'}  "
        f"{sum(each.done for each in recent) / length_s:4.0f} requests/s  "
        f"{sum(each.failed for each in recent):3d} failed  latency {_ms(median_ms(requests)):>9}  "
        f"{took_in}forged at the server {sum(each.reached for each in phase.samples)}"
    )


def print_table(phases: list[Phase]) -> None:
    columns = ("", "", "requests/s", "failed", "median", "99 %", "forged SYNs", "absorbed", "at the server")
    rows = [columns]
    for phase in phases:
        for flooding in (False, True):
            part = phase.part(flooding=flooding)
            total = len(part.requests)
            rows.append(
                (
                    phase.title,
                    "flood" if flooding else "quiet",
                    f"{part.per_second:.0f}",
                    f"{part.failed / total:.1%}" if total else "none tried",
                    _ms(part.latency_ms(0.5)),
                    _ms(part.latency_ms(0.99)),
                    str(phase.sent if flooding else 0),
                    str(part.absorbed) if phase.protected else "-",
                    str(part.reached),
                )
            )
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    print()
    for row in rows:
        print(
            "  ".join(
                f"{text:<{w}}" if at < 2 else f"{text:>{w}}"
                for at, (text, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def print_verdict(phases: list[Phase]) -> bool:
    """True when Levee kept every promise in the last phase."""
    part = phases[-1].part(flooding=True)
    reached = sum(sample.reached for sample in phases[-1].samples)
    kept = reached == 0 and part.failed == 0 and part.done > 0
    print(
        f"With Levee {reached} of {phases[-1].sent} forged SYNs reached the server, "
        f"and {part.failed} of {len(part.requests)} requests failed during the flood."
    )
    return kept
