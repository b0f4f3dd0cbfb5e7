"""The packet core compiles for BPF, and each header by itself in user space: nothing on the packet path needs libc."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "cext" / "core"
CALLER = Path(__file__).with_name("core_bpf.c")
CLANG = "clang-19"

# Headers that only user space includes; all others are meant for BPF programs as well, or are made only of such.
BPF_HEADERS = ("base", "checksum", "cookie", "flow", "options", "packet", "reason", "siphash", "translate")
# What BPF must never call, nor anything that calls it: it walks over a whole packet.
USER_SPACE_ONLY = "lv_csum_bytes"


def multiarch() -> str:
    """Where Debian keeps <asm/types.h>, which another target than the host's does not look for by itself."""
    done = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True)
    return f"/usr/include/{done.stdout.strip()}"


def test_core_compiles_for_bpf(tmp_path: Path) -> None:
    made = tmp_path / "core.o"
    options = ("-target", "bpf", "-mcpu=v3", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
    include = ("-I", str(ROOT / "cext"), "-isystem", multiarch())
    done = subprocess.run(
        [CLANG, *options, *include, "-c", str(CALLER), "-o", str(made)], capture_output=True, text=True, check=False
    )
    assert not done.stderr
    assert done.returncode == 0
    undefined = subprocess.run(
        ["llvm-nm-19", "--undefined-only", str(made)], capture_output=True, text=True, check=True
    )
    assert undefined.stdout.split() == []


def functions(header: str) -> dict[str, str]:
    """Name -> text of the functions that a header defines."""
    pieces = re.split(r"^LV_INLINE ", (CORE / f"{header}.h").read_text(), flags=re.MULTILINE)[1:]
    return {found[1]: piece for piece in pieces if (found := re.match(r"[^;{=]*?\b(lv_\w+)\(", piece))}


def for_user_space_only() -> set[str]:
    """Functions that come to USER_SPACE_ONLY in the end."""
    texts = {name: text for header in BPF_HEADERS for name, text in functions(header).items()}
    found = {USER_SPACE_ONLY}
    while True:
        more = {name for name, text in texts.items() if any(f"{one}(" in text for one in found)}
        if more <= found:
            return found
        found |= more


@pytest.mark.parametrize("header", BPF_HEADERS)
def test_every_function_for_bpf_is_called(header: str) -> None:
    """By core_bpf.c, by the programs, or by another function of the core: a new function cannot be forgotten."""
    callers = [CALLER, *(ROOT / "cext" / "bpf").glob("*.[ch]"), *(CORE / f"{name}.h" for name in BPF_HEADERS)]
    text = "".join(path.read_text() for path in callers)
    uncalled = {
        name for name in functions(header).keys() - for_user_space_only() if len(re.findall(rf"\b{name}\(", text)) < 2
    }
    assert uncalled == set()


@pytest.mark.parametrize("header", sorted(path.stem for path in CORE.glob("*.h")))
def test_each_header_stands_alone(header: str, tmp_path: Path) -> None:
    source = tmp_path / "alone.c"
    source.write_text(f'#include "core/{header}.h"\n#include "core/{header}.h"\n')
    options = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
    for compiler in ("gcc", CLANG):
        done = subprocess.run(
            [compiler, *options, "-I", str(ROOT / "cext"), str(source)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
