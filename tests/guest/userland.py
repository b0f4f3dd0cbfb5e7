"""The trees of the guest: a Debian 13 userland, and the tools to boot it.

Owns what is installed and the recipe text that names a cache. Called by __main__.py. QEMU, kernel
and busybox are only unpacked (nothing of them runs on the host but QEMU, with its own libraries);
the userland is installed properly, since it is also the chroot in which the product is compiled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from guest.kernel import unpack_kernel
from guest.layout import CACHE, REPOSITORY, TREE_IN_GUEST, GuestError, Layout, layout_for, say
from guest.mirror import SUITE, Mirror, host_mirror

# Raised by hand when the way of building changes (what is installed is part of the key anyway).
_RECIPE = 1
_TOOLS = ("busybox-static", "libc6", "linux-image-amd64", "qemu-system-x86", "seabios", "zstd")
# Paragraphs of requirements/apt.txt that the guest needs too.
_SECTIONS = ("build", "lab")
_EXTRA = ("kmod",)
_BUILD_LIMIT_S = 900
_DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)


def parse_apt_list(text: str, sections: tuple[str, ...]) -> tuple[str, ...]:
    """Packages of the paragraphs of an apt list whose heading comment starts with one of `sections`.

    A paragraph is `# name: why` and then one package a line; a blank line ends it.
    """
    packages: list[str] = []
    found: set[str] = set()
    section = ""
    for line in text.splitlines():
        word = line.strip()
        if not word:
            section = ""
        elif word.startswith("#"):
            section = section or word.lstrip("# ").partition(":")[0]
            found.add(section)
        elif section in sections:
            packages.append(word)
    missing = set(sections) - found
    if missing:
        raise GuestError(f"the list of Debian packages has no paragraph {', '.join(sorted(missing))}")
    return tuple(packages)


def userland_packages() -> tuple[str, ...]:
    listed = parse_apt_list((REPOSITORY / "requirements" / "apt.txt").read_text(), _SECTIONS)
    return tuple(sorted({*listed, *_EXTRA}))


def current_layout() -> Layout:
    """The cache that belongs to today's recipe, built or not."""
    recipe = "\n".join((f"{_RECIPE} {SUITE}", *_DPKG_OPTIONS, *_TOOLS, "--", *userland_packages()))
    return layout_for(recipe)


@dataclass(frozen=True)
class Tree:
    """One tree for mmdebstrap: where it goes, which variant and packages, and dpkg's options while it is installed."""

    name: str
    layout: Layout
    target: Path
    variant: str
    packages: tuple[str, ...]
    dpkg_options: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        return self.layout.base / f"{self.name}.log"


def _mmdebstrap(mirror: Mirror, tree: Tree) -> subprocess.Popen[bytes]:
    argv = ["mmdebstrap", "--mode=root", f"--variant={tree.variant}", "--format=directory"]
    argv += [f"--include={','.join(tree.packages)}"]
    argv += [f"--aptopt={line}" for line in mirror.apt_options]
    argv += [f"--dpkgopt={option}" for option in tree.dpkg_options]
    argv += [mirror.suite, str(tree.target), "-"]
    # Whoever wants an initial RAM disk makes it when the tree is complete (Debian's kernel package reads INITRD).
    environment = os.environ | {"INITRD": "No"}
    with tree.log.open("wb") as sink:
        child = subprocess.Popen(
            argv, env=environment, stdin=subprocess.PIPE, stdout=sink, stderr=sink, start_new_session=True
        )
    if child.stdin is None:
        raise GuestError("mmdebstrap was started without a pipe")
    with child.stdin as pipe:
        pipe.write(mirror.sources.encode())
    return child


@contextmanager
def _killed_at_exit(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """No mmdebstrap outlives us, not its apt and dpkg either: each is a session of its own."""
    try:
        yield
    finally:
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                child.wait()


def make_trees(mirror: Mirror, trees: tuple[Tree, ...]) -> None:
    """Install all of them, at the same time. Raises GuestError with the end of what mmdebstrap said."""
    children: list[subprocess.Popen[bytes]] = []
    with _killed_at_exit(children):
        children.extend(_mmdebstrap(mirror, tree) for tree in trees)
        for tree, child in zip(trees, children, strict=True):
            try:
                code = child.wait(_BUILD_LIMIT_S)
            except subprocess.TimeoutExpired:
                code = -1
                say(f"mmdebstrap ({tree.name}) took more than {_BUILD_LIMIT_S} s")
            if code != 0:
                tail = "\n".join(tree.log.read_text(errors="replace").splitlines()[-15:])
                raise GuestError(
                    f"mmdebstrap could not make the {tree.name} tree:\n{tail}",
                    "it needs a Debian mirror that carries trixie, and its signing keys",
                )


def _build_trees(layout: Layout) -> None:
    make_trees(
        host_mirror(),
        (
            Tree("tools", layout, layout.tools, "extract", _TOOLS),
            Tree("root", layout, layout.root, "apt", userland_packages(), _DPKG_OPTIONS),
        ),
    )


def _install_modules(layout: Layout, tree: Path) -> str:
    """Put the modules of the only kernel that was unpacked in `tree` into the root; returns its release."""
    (folder,) = {path.resolve() for lib in ("lib", "usr/lib") for path in (tree / lib / "modules").glob("*")}
    shutil.copytree(folder, layout.root / "usr/lib/modules" / folder.name, symlinks=True)
    subprocess.run(["chroot", layout.root, "depmod", folder.name], check=True)
    return folder.name


def _finish_root(layout: Layout) -> None:
    """What the packages do not bring: mount points, names."""
    (layout.root / TREE_IN_GUEST.relative_to("/")).mkdir()
    (layout.root / "etc/hostname").write_text("guest\n")
    (layout.root / "etc/hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")


def remove_others(keep: Layout | None) -> None:
    """Delete cached trees of other recipes; they are never used again."""
    if not CACHE.is_dir():
        return
    for base in CACHE.iterdir():
        if base.is_dir() and (base / "root").exists() and (keep is None or base != keep.base):
            say(f"removing {base.name}, built from another recipe")
            shutil.rmtree(base)


def ensure_built() -> Layout:
    """The complete cache for today's recipe; builds it when it is missing (about a minute)."""
    layout = current_layout()
    if layout.complete.exists():
        return layout
    if os.geteuid() != 0:
        raise GuestError("building the guest needs root (mmdebstrap, chroot)", "run it with sudo")
    if shutil.which("mmdebstrap") is None:
        raise GuestError("mmdebstrap is not installed", "make setup")
    remove_others(keep=None)
    if layout.base.exists():
        shutil.rmtree(layout.base)
    layout.base.mkdir(parents=True)
    say("installing Debian 13 for the guest, once (about a minute)")
    _build_trees(layout)
    _finish_root(layout)
    unpack_kernel(layout, layout.tools, _install_modules(layout, layout.tools))
    layout.complete.touch()
    return layout


def with_kernel_of(layout: Layout, suite: str) -> Layout:
    """The same userland with another suite's kernel; fetches that when it is missing (half a minute)."""
    if suite == SUITE:
        return layout
    other = replace(layout, kernel=suite)
    if other.complete.exists():
        return other
    folder = other.complete.parent
    if folder.exists():
        shutil.rmtree(folder)
    tree = Tree("tree", other, folder / "tree", "extract", ("linux-image-amd64",))
    tree.target.mkdir(parents=True)
    say(f"fetching the kernel of {suite}, once")
    make_trees(host_mirror(suite), (tree,))
    for stale in (layout.root / "usr/lib/modules").glob("*"):  # of an earlier try
        if (tree.target / "lib/modules" / stale.name).exists():
            shutil.rmtree(stale)
    unpack_kernel(other, tree.target, _install_modules(layout, tree.target))
    shutil.rmtree(tree.target)
    other.complete.touch()
    return other
