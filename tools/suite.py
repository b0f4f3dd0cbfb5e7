"""Runs the checks and tests by name and ends with one count: `tools/suite.py check | test | PART...`.

Owns the running, the counting and the report; the command lines stand in tools/parts.py. Called by make with the
Python of the virtual environment. Every step runs even if one before it failed. A part that executed nothing fails.
The last line is `N passed, N failed, N skipped`; the exit code is 0 only if nothing failed and something ran.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from parts import BIN, REPORT, Nothing, Part, Step, parts

SHOWN_LINES = 60
BESIDE_NICE = 10

# What runs now, to be stopped when the whole run is; and that it is.
running: set[subprocess.Popen[bytes]] = set()
interrupted = threading.Event()


@dataclass(frozen=True)
class Outcome:
    """What one step came to."""

    passed: int = 0
    failures: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    seconds: float = 0.0


def command(step: Step) -> list[str]:
    """The command line, through sudo where the step needs root and we are not."""
    if not step.root or os.geteuid() == 0:
        return list(step.argv)
    return ["sudo", "--preserve-env", "env", f"PATH={os.environ['PATH']}", *step.argv]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a step and everything it started: first politely, so that namespaces and rules are cleaned up."""
    for number, patience_s in ((signal.SIGINT, 30), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def execute(step: Step, *, beside: bool) -> tuple[int | None, float]:
    """Run a step; its exit code, or None if the time limit ended it, and the seconds it took."""
    started = time.monotonic()
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    # Steps with test cases are long and show their progress; the others speak only when they fail.
    output = None if step.cases and not beside else step.log.open("wb")
    try:
        process = subprocess.Popen(
            [*(["nice", "-n", str(BESIDE_NICE)] if beside else []), *command(step)],
            cwd=step.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        running.add(process)
        try:
            code = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            stop(process)
            code = None
        running.discard(process)
        return code, time.monotonic() - started
    finally:
        if output:
            output.close()


def verdict(step: Step, code: int | None) -> str | None:
    """What is wrong with an exit code, if anything."""
    if code is None:
        return f"{step.name}: not finished after its limit of {step.limit_s} s"
    return f"{step.name}: exit code {code}" if code else None


def count_cases(step: Step) -> Outcome:
    """Read the JUnit file of a step."""
    passed, failures, skips = 0, [], []
    for case in ET.parse(step.junit).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        if bad is not None:
            failures.append(f"{name}: {(bad.get('message') or '').partition(chr(10))[0][:160]}")
        elif skipped is not None:
            skips.append(skipped.get("message") or "no reason given")
        else:
            passed += 1
    return Outcome(passed, tuple(failures), tuple(skips))


def run_step(step: Step, *, beside: bool) -> Outcome:
    """Run one step and count it."""
    step.junit.unlink(missing_ok=True)
    try:
        code, seconds = execute(step, beside=beside)
    except FileNotFoundError as error:
        return Outcome(failures=(f"{step.name}: {error.filename} is not installed (make setup installs it)",))
    wrong = verdict(step, code)
    if not step.cases:
        return Outcome(0 if wrong else 1, (wrong,) if wrong else (), (), seconds)
    if not step.junit.exists():
        return Outcome(failures=(wrong or f"{step.name}: wrote no result file",), seconds=seconds)
    found = count_cases(step)
    failures = found.failures
    if wrong and not failures:
        failures = (wrong,)
    if not found.passed and not failures and not (step.optional and found.skips):
        failures = (f"{step.name}: ran no test ({len(found.skips)} skipped)",)
    return Outcome(found.passed, failures, found.skips, seconds)


def show(step: Step, outcome: Outcome, *, logged: bool = False) -> None:
    """One line for a step, and the end of its output if it failed and nobody has seen it."""
    word = "FAILED" if outcome.failures else "ok"
    print(f"  {step.name:<18} {word:<7} {outcome.seconds:6.1f} s", flush=True)
    if outcome.failures and (logged or not step.cases) and step.log.exists():
        for line in step.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]:
            print(f"    | {line}")


def run_steps(part: Part, *, beside: bool) -> list[tuple[Step, Outcome]]:
    """Run the steps of a part one after the other; what each came to is shown at once, unless `beside` another part."""
    done: list[tuple[Step, Outcome]] = []
    for step in part.steps:
        if interrupted.is_set():
            break
        done.append((step, run_step(step, beside=beside)))
        if not beside:
            show(*done[-1])
    return done


def total(done: list[tuple[Step, Outcome]]) -> Outcome:
    """What the steps of a part came to."""
    return Outcome(
        sum(outcome.passed for _, outcome in done),
        tuple(text for _, outcome in done for text in outcome.failures),
        tuple(text for _, outcome in done for text in outcome.skips),
        sum(outcome.seconds for _, outcome in done),
    )


def stop_all() -> None:
    """The whole run was interrupted: nothing that was started stays, and nothing more is."""
    interrupted.set()
    for process in tuple(running):
        stop(process)


def run_part(part: Part) -> dict[str, Outcome]:
    """Run a part and the one beside it; what each came to."""
    print(f"\n== {part.name}", flush=True)
    if part.beside is None:
        return {part.name: total(run_steps(part, beside=False))}
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run_steps, part.beside, beside=True)
        try:
            done = run_steps(part, beside=False)
            other = future.result()
        except KeyboardInterrupt:
            stop_all()
            raise
    print(f"\n== {part.beside.name}, beside {part.name}", flush=True)
    for step, outcome in other:
        show(step, outcome, logged=True)
    return {part.name: total(done), part.beside.name: total(other)}


def report(results: dict[str, Outcome]) -> int:
    """Print the table, the reasons and the closing line; return the exit code."""
    print(f"\n== summary\n  {'part':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>10}")
    for name, one in results.items():
        print(f"  {name:<12}{one.passed:>8}{len(one.failures):>8}{len(one.skips):>9}{one.seconds:>10.1f}")
    for reason, times in Counter(text for one in results.values() for text in one.skips).items():
        print(f"  skipped {times} x: {reason}")
    for name, one in results.items():
        for text in one.failures:
            print(f"  FAILED in {name}: {text}")
    passed = sum(one.passed for one in results.values())
    failed = sum(len(one.failures) for one in results.values())
    skipped = sum(len(one.skips) for one in results.values())
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if passed and not failed else 1


def main(names: list[str]) -> int:
    """Run the named parts in the order given."""
    if not names:
        print("usage: tools/suite.py check | test | PART...", file=sys.stderr)
        return 2
    # A shell's background job inherits an ignored SIGINT, and so would every step; a terminated run cleans up as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    REPORT.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    try:
        wanted = [part for name in names for part in parts(name)]
    except Nothing as nothing:
        print(f"suite: {nothing}\n\n0 passed, 1 failed, 0 skipped")
        return 1
    results: dict[str, Outcome] = {}
    for part in wanted:
        results |= run_part(part)
    return report(results)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        stop_all()
        print("\nsuite: interrupted; what was started has been stopped", flush=True)
        sys.exit(130)
