"""The product in the guest: a copy of the working tree, its Python environment, the built wheel.

Owns what lies under /levee in the guest's userland. Called by __main__.py before every boot; each
step is skipped when nothing changed. The guest's Python differs from the host's, so the product is
compiled in the guest's userland, as a chroot; nothing of the host's .venv is used.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from guest.chroot import run_in_root
from guest.layout import REPOSITORY, TREE_IN_GUEST, GuestError, Layout, say

# In the copy, but not of the working tree.
_KEPT = (".venv", ".build")
# What tests in the guest import besides what the product needs; versions: requirements/versions.txt.
_TEST_PACKAGES = ("pytest", "scapy")
_BYTECODE = "__pycache__"
_PIP_LIMIT_S = 600
_BUILD_LIMIT_S = 1200


def _listed_files() -> list[str]:
    """Files of the working tree: tracked ones and new ones that git does not ignore."""
    git = ["git", "-c", f"safe.directory={REPOSITORY}", "-C", str(REPOSITORY), "ls-files", "-z"]
    done = subprocess.run(
        [*git, "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise GuestError(f"git cannot list the working tree: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name]


def _differs(source: Path, target: Path) -> bool:
    if not target.is_file():
        return True
    old, new = target.stat(), source.stat()
    if (old.st_size, old.st_mode) != (new.st_size, new.st_mode):
        return True
    return target.read_bytes() != source.read_bytes()


def sync_tree(layout: Layout) -> int:
    """Make the copy equal to the working tree; returns how many files were written or removed.

    What is written gets the present as its time: newer than anything ever built from the copy.
    """
    changed = 0
    wanted: set[Path] = set()
    for name in _listed_files():
        source, target = REPOSITORY / name, layout.tree / name
        if not source.is_file():
            continue
        wanted.add(target)
        wanted.update(target.parents)
        if _differs(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            changed += 1
    for top in layout.tree.iterdir():
        if top.name in _KEPT:
            continue
        for path in sorted((top, *top.rglob("*")), reverse=True):
            if path not in wanted and _BYTECODE not in path.parts:
                changed += 1
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    return changed


def _ensure_environment(layout: Layout) -> None:
    requirements = REPOSITORY / "requirements"
    digest = hashlib.sha256(" ".join(_TEST_PACKAGES).encode())
    for name in ("versions.txt", "build.txt", "runtime.txt"):
        digest.update((requirements / name).read_bytes())
    stamp = layout.tree / ".venv" / "requirements.sha256"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    say("installing the guest's Python environment")
    stamp.unlink(missing_ok=True)
    run_in_root(
        layout,
        ["python3", "-m", "venv", "--clear", ".venv"],
        cwd=TREE_IN_GUEST,
        limit_s=_PIP_LIMIT_S,
    )
    pip = [".venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    # Also for what is fetched to compile a source package, which --constraint does not reach.
    pins = {"PIP_CONSTRAINT": f"{TREE_IN_GUEST}/requirements/versions.txt"}
    wanted = ["-r", "requirements/build.txt", "-r", "requirements/runtime.txt", *_TEST_PACKAGES]
    run_in_root(layout, [*pip, *wanted], cwd=TREE_IN_GUEST, limit_s=_PIP_LIMIT_S, variables=pins)
    # tools/build compares times with the stamp that make leaves after setting up.
    made = layout.tree / ".build" / "stamp" / "venv"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.touch()
    stamp.write_text(digest.hexdigest())


def _prepare_tests(layout: Layout) -> None:
    """Do here, natively, what the first test run would do under emulation, at ten times the price.

    That is compiling the lab's generator, and the bytecode of tests with pytest's rewritten assertions.
    Tests that cannot even be collected are for pytest in the guest to report, not for us.
    """
    python = {"PYTHONPATH": "tests/lab"}
    generator = [".venv/bin/python", "-c", "from netlab import flood; flood.compiled()"]
    run_in_root(layout, generator, cwd=TREE_IN_GUEST, limit_s=_BUILD_LIMIT_S, variables=python)
    collect = ["sh", "-c", ".venv/bin/pytest -q --collect-only --mode bridge tests/lab || true"]
    run_in_root(layout, collect, cwd=TREE_IN_GUEST, limit_s=_BUILD_LIMIT_S)


def build_product(layout: Layout) -> bool:
    """Bring working tree and built wheel up to date in the guest's userland; returns whether anything changed."""
    changed = sync_tree(layout)
    _ensure_environment(layout)
    stamp = layout.tree / ".venv" / "product.built"
    if changed == 0 and stamp.exists():
        return False
    say(f"building the product in Debian 13 ({changed} changed files)")
    stamp.unlink(missing_ok=True)
    run_in_root(
        layout,
        ["tools/build", ".venv", ".build"],
        cwd=TREE_IN_GUEST,
        limit_s=_BUILD_LIMIT_S,
    )
    stamp.touch()
    return True


def forget_product(layout: Layout) -> None:
    """The next build_product() compiles all of it."""
    (layout.tree / ".venv" / "product.built").unlink(missing_ok=True)
    (layout.tree / ".build" / "stamp" / "build").unlink(missing_ok=True)
    for name in ("meson", "wheel"):
        shutil.rmtree(layout.tree / ".build" / name, ignore_errors=True)


def install_product(layout: Layout) -> None:
    """As build_product(), and what tests need beside it."""
    ready = layout.tree / ".venv" / "tests.prepared"
    if build_product(layout):
        ready.unlink(missing_ok=True)
    if not ready.exists():
        _prepare_tests(layout)
        ready.touch()
