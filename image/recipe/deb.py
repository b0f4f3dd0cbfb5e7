"""The Debian package: the same product for a machine that has its Debian already.

Owns what is in the package and what it depends on. Called by __main__.py. It is made of the wheel that `make build`
left, with this machine's Python, and so for the Debian that runs here. The units are in it, and nothing is enabled.
"""

from __future__ import annotations

import gzip
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from guest.layout import GuestError, say

from recipe import product
from recipe.places import MIB, REPOSITORY, SOURCES, Release

OUT = REPOSITORY / ".build" / "deb"
_LIMIT_S = 600
_FILES = (
    ("root/usr/bin/levee", "usr/bin/levee", 0o755),
    ("units/levee.service", "usr/lib/systemd/system/levee.service", 0o644),
    ("units/levee-metrics.service", "usr/lib/systemd/system/levee-metrics.service", 0o644),
    ("units/levee.sysusers", "usr/lib/sysusers.d/levee.conf", 0o644),
    ("units/levee.tmpfiles", "usr/lib/tmpfiles.d/levee.conf", 0o644),
    ("units/levee-bridge.conf", "usr/share/doc/levee/levee-bridge.conf", 0o644),
    ("../LICENSE", "usr/share/doc/levee/copyright", 0o644),
)
_SCRIPTS = ("postinst", "prerm", "postrm")


@dataclass(frozen=True)
class System:
    """What a package is for: the Debian, its Python (major, minor), its C library, its architecture's name."""

    debian: str
    python: tuple[int, int]
    libc: str
    architecture: str


def this_system() -> System:
    """Of the machine that runs this. Raises GuestError when it is no Debian."""
    found = platform.freedesktop_os_release()
    if found.get("ID") != "debian":
        raise GuestError("the package is made on the Debian it is for", "run it on Debian 12 or 13")
    asked = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    version = sys.version_info
    return System(found["VERSION_ID"], (version.major, version.minor), platform.libc_ver()[1], asked.stdout.strip())


def control(release: Release, system: System, size_kib: int) -> str:
    """The package's description, deb-control(5). The compiled modules are those of one version of Python."""
    major, minor = system.python
    depends = (
        f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), libc6 (>= {system.libc}), libbpf1, "
        "libsystemd0, iproute2, mount, nftables, systemd, util-linux"
    )
    return f"""Package: levee
Version: {release.version}+deb{system.debian}
Architecture: {system.architecture}
Maintainer: Levee maintainers <maintainers@levee.invalid>
Installed-Size: {size_kib}
Depends: {depends}
Section: net
Priority: optional
Description: protection against SYN floods for the servers behind this machine
 Answers SYNs with cookies, opens the connection to the server only for clients that completed the handshake, and
 translates sequence numbers afterwards; on a bridge, a router or the server itself. Off until it is configured.
"""


def _python(root: Path) -> None:
    wheels = sorted((REPOSITORY / ".build" / "wheel").glob("*.whl"))
    if not wheels:
        raise GuestError("there is no wheel in .build/wheel", "make build")
    folder = root / "usr/lib/levee/python"
    pip = [".venv/bin/pip", *product.pip_arguments(wheels[-1], folder)]
    pins = os.environ | {"PIP_CONSTRAINT": str(REPOSITORY / "requirements" / "versions.txt")}
    done = subprocess.run(pip, cwd=REPOSITORY, env=pins, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode != 0:
        raise GuestError(f"pip could not fetch what the product imports: {done.stderr.strip()}")
    product.tidy(folder)


def _lay_out(root: Path, release: Release) -> None:
    _python(root)
    for source, target, mode in _FILES:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SOURCES / source, root / target)
        (root / target).chmod(mode)
    shutil.copytree(REPOSITORY / "configs", root / "usr/share/doc/levee/examples")
    for page in (REPOSITORY / "docs" / "man").iterdir():
        there = root / f"usr/share/man/man{page.suffix[1:]}" / f"{page.name}.gz"
        there.parent.mkdir(parents=True)
        there.write_bytes(gzip.compress(page.read_bytes(), mtime=release.epoch_s))


def build(release: Release) -> Path:
    """Makes .build/deb/levee_VERSION_ARCHITECTURE.deb; needs no root. Raises GuestError."""
    system = this_system()
    shutil.rmtree(OUT, ignore_errors=True)
    root = OUT / "root"
    (root / "DEBIAN").mkdir(parents=True)
    _lay_out(root, release)
    for name in _SCRIPTS:
        shutil.copyfile(SOURCES / "deb" / name, root / "DEBIAN" / name)
        (root / "DEBIAN" / name).chmod(0o755)
    size_kib = sum(path.lstat().st_size for path in root.rglob("*")) >> 10
    (root / "DEBIAN/control").write_text(control(release, system, size_kib))
    target = OUT / f"levee_{release.version}+deb{system.debian}_{system.architecture}.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(target)]
    dated = os.environ | {"SOURCE_DATE_EPOCH": str(release.epoch_s)}
    done = subprocess.run(argv, env=dated, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode != 0:
        raise GuestError(f"dpkg-deb failed: {done.stderr.strip()}")
    shutil.rmtree(root)
    say(f"{target.relative_to(REPOSITORY)}: {target.stat().st_size / MIB:.1f} MiB, for Debian {system.debian}")
    return target
