"""Workers on one table at once, under ThreadSanitizer: race/race.c says what is proved."""

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "race"
CORE = Path(__file__).resolve().parents[2] / "cext"
ROUNDS = 20_000


def test_workers_race_for_nothing(tmp_path: Path) -> None:
    program = tmp_path / "race"
    flags = ["-std=gnu11", "-O1", "-g", "-fsanitize=thread", "-Wall", "-Wextra", "-Werror", "-I", str(CORE), "-pthread"]
    subprocess.run(["clang-19", *flags, str(SOURCE / "race.c"), "-o", str(program)], check=True, timeout=60)
    environment = os.environ | {"TSAN_OPTIONS": f"suppressions={SOURCE / 'races.supp'} halt_on_error=1"}
    done = subprocess.run(
        [program, str(ROUNDS)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    word, opened = done.stdout.split()
    assert word == "ok"
    assert int(opened) > 100
