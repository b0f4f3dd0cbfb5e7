#!/usr/bin/env python3
"""Builds the fuzz targets of this folder and runs them: `run.py [--seconds N | --runs N] [TARGET...]`.

Owns the compiler's options, the limits of a run and the count of executions. Called by make, test_fuzz.py, developers.
Must not know what a target tests. Seeds come from corpus/TARGET; what a run learns stays in .build/fuzz and is the
start of the next one. A finding is kept in findings/ (not in git) and the run fails and says how to see it again:
`run.py --input FILE TARGET`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / ".build" / "fuzz"
FINDINGS = HERE / "findings"
CLANG = "clang-19"
SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function")

# Bytes of input: what a target can make use of.
LONGEST = {
    "cookie": 512,
    "engine": 2048,
    "hold": 384,
    "netlink": 1024,
    "options": 41,
    "packet": 512,
    "services": 512,
    "translate": 256,
}
LONGEST_BYTES = 1024
DEFAULT_SECONDS = 10


class FuzzError(Exception):
    """A target could not be built, or it found something."""


@dataclass(frozen=True)
class Result:
    """What one run came to."""

    target: str
    executions: int
    reached: dict[str, int]  # what the target itself says of where it got to


def targets() -> tuple[str, ...]:
    """Names of all targets: every C file of this folder."""
    return tuple(sorted(path.stem for path in HERE.glob("*.c")))


def build(target: str) -> Path:
    """Compile a target if it or any header is newer than its program; the path of the program."""
    program = BUILD / target
    sources = [HERE / f"{target}.c", *HERE.glob("*.h"), *(ROOT / "cext").rglob("*.h"), Path(__file__)]
    if program.exists() and all(path.stat().st_mtime < program.stat().st_mtime for path in sources):
        return program
    BUILD.mkdir(parents=True, exist_ok=True)
    made = BUILD / f"{target}.{os.getpid()}"
    options = ("-O1", "-g", *WARNINGS, *SANITIZERS, f"-I{ROOT / 'cext'}", f"-I{HERE}")
    done = subprocess.run(
        [CLANG, *options, str(HERE / f"{target}.c"), "-o", str(made)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FuzzError(f"{target}: does not compile\n{done.stderr}")
    made.rename(program)
    return program


def seeds_of(target: str) -> list[Path]:
    """The seeds of a target; none is an error."""
    seeds = sorted((HERE / "corpus" / target).glob("*"))
    if not seeds:
        raise FuzzError(f"{target}: has no seeds in tests/fuzz/corpus (corpus.py writes them)")
    return seeds


def run_program(target: str, *options: str) -> str:
    """Run a target with options of libFuzzer; what it said."""
    FINDINGS.mkdir(exist_ok=True)
    fixed = (f"-artifact_prefix={FINDINGS / target}-", "-timeout=20", "-rss_limit_mb=2048", "-verbosity=0")
    done = subprocess.run(
        [str(build(target)), *fixed, *options], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise FuzzError(finding(target, done.stderr))
    return done.stderr


def execute(target: str, limit: str) -> Result:
    """Fuzz a target up to a limit (`-runs=N` or `-max_total_time=S`)."""
    seeds_of(target)
    learned = BUILD / "corpus" / target
    learned.mkdir(parents=True, exist_ok=True)
    longest = f"-max_len={LONGEST.get(target, LONGEST_BYTES)}"
    said = run_program(target, limit, longest, "-print_final_stats=1", str(learned), str(HERE / "corpus" / target))
    count = re.search(r"stat::number_of_executed_units:\s+(\d+)", said)
    if not count:
        raise FuzzError(f"{target}: did not say how often it ran\n{said[-2000:]}")
    return Result(target, int(count[1]), reached_in(said))


def replay(target: str) -> Result:
    """Run the seeds of a target, each once."""
    seeds = seeds_of(target)
    return Result(target, len(seeds), reached_in(run_program(target, *map(str, seeds))))


def reached_in(said: str) -> dict[str, int]:
    return {name: int(times) for name, times in re.findall(r"^reached (\S+) (\d+)$", said, re.MULTILINE)}


def finding(target: str, output: str) -> str:
    """The report of a finding, with the command that shows it again."""
    kept = re.search(r"Test unit written to (\S+)", output)
    again = f"see it again: tests/fuzz/run.py --input {kept[1]} {target}" if kept else "no input was kept"
    lines = [line for line in output.splitlines() if not line.startswith(("INFO:", "reached ", "stat::"))]
    return f"{target}: a finding; {again}\n" + "\n".join(lines[-60:])


def show(target: str, path: Path) -> int:
    """Run one input in the open."""
    return subprocess.run([str(build(target)), str(path)], check=False).returncode


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the packet core with libFuzzer, ASan and UBSan.")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--seconds", type=int, help=f"time for each target (default {DEFAULT_SECONDS})")
    limit.add_argument("--runs", type=int, help="executions of each target")
    limit.add_argument("--input", type=Path, help="run this one file, for the one target that is named")
    parser.add_argument("target", nargs="*", help="default: all of " + ", ".join(targets()))
    options = parser.parse_args(argv)
    unknown = sorted(set(options.target) - set(targets()))
    if unknown:
        parser.error(f"no target is called {' or '.join(unknown)}; there are {', '.join(targets())}")
    if options.input and len(options.target) != 1:
        parser.error("--input needs one target")
    return options


def main(argv: list[str]) -> int:
    options = arguments(argv)
    if options.input:
        return show(options.target[0], options.input)
    limit = f"-runs={options.runs}" if options.runs else f"-max_total_time={options.seconds or DEFAULT_SECONDS}"
    failed = 0
    for target in options.target or targets():
        try:
            result = execute(target, limit)
        except FuzzError as error:
            failed += 1
            print(error, flush=True)
        else:
            print(f"{target}: {result.executions:,} executions without a finding", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
