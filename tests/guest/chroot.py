"""Commands in the guest's userland, run on the host: compiling at native speed.

Owns the mounts and the environment such a command gets, with what the host's pip set-up needs
(proxy, certificates, local package folders). Called by product.py. All mounts live in a mount
namespace of the command and vanish with it; its processes die with it too (pid namespace).
"""

from __future__ import annotations

import configparser
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from guest.layout import GuestError, Layout

# $1 = root; then pairs "rw|ro path" up to "--"; then the command.
_ENTER = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mount --rbind "$2" "$root$2"
    [ "$1" = rw ] || mount -o remount,bind,ro "$root$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
_SHOWN_LINES = 60
_PASSED = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "requests_ca_bundle")


def local_paths(text: str) -> list[Path]:
    """Files and folders of this machine that a pip option's value names (paths and file:// URLs).

    The pages of a local index link to files beside it, so of a URL its parent folder is meant.
    """
    found = []
    for word in text.split():
        if word.startswith("file:///"):
            path = Path(word.removeprefix("file://").rstrip("/"))
            found.append(path.parent if path.parent != Path("/") else path)
        elif word.startswith("/"):
            found.append(Path(word))
    return found


def _pip_config_files(environment: Mapping[str, str]) -> list[Path]:
    home = Path(environment.get("HOME", "/root"))
    candidates = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if named := environment.get("PIP_CONFIG_FILE"):
        candidates.append(Path(named))
    return [path for path in candidates if path.is_file()]


def _pip_needs(environment: Mapping[str, str]) -> list[Path]:
    """What must be seen at its own place in the chroot for the host's pip configuration to hold."""
    needs = _pip_config_files(environment)
    for path in tuple(needs):
        parser = configparser.RawConfigParser()
        parser.read(path)
        for section in parser.values():
            for value in section.values():
                needs += local_paths(value)
    for name, value in environment.items():
        if name.startswith("PIP_"):
            needs += local_paths(value)
    return needs


def _mountpoint(root: Path, path: Path) -> None:
    target = root / path.relative_to("/")
    if path.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def run_in_root(
    layout: Layout,
    argv: list[str],
    *,
    cwd: Path,
    limit_s: int,
    variables: Mapping[str, str] | None = None,
    network: bool = True,
) -> None:
    """Run `argv` as root in the userland tree, in folder `cwd`, with `variables` in its environment.

    Without `network` nothing of the host's set-up is seen in the tree, and nothing is added to it.
    Raises GuestError, with the end of what it printed, when it fails or takes longer than `limit_s`.
    """
    environment = {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower() in _PASSED
    }
    environment |= {
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "PATH": f"{cwd}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    environment |= variables or {}
    binds: list[str] = []
    seen: set[Path] = set()
    for path in (*map(Path, _HOST_FILES), *_pip_needs(environment)) if network else ():
        if path.exists() and path not in seen:
            seen.add(path)
            _mountpoint(layout.root, path)
            binds += ["ro", str(path)]
    pip_cache = Path(environment["HOME"]) / ".cache/pip"
    if network and pip_cache.is_dir():
        _mountpoint(layout.root, pip_cache)
        binds += ["rw", str(pip_cache)]
    # setpriv: the namespaces' first process is killed when we die, and with it all of them.
    enter = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]
    enter += ["--kill-child=KILL", "sh", "-c", _ENTER, "sh", str(layout.root), *binds, "--"]
    enter += ["/usr/bin/env", "-C", str(cwd), *argv]
    log = layout.base / "chroot.log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            enter, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        ) as child,
    ):
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise GuestError(f"{' '.join(argv)}: took more than {limit_s} s; its output is in {log}") from None
        finally:
            child.kill()
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:])
        raise GuestError(f"{' '.join(argv)}: exit code {code}\n{tail}", f"all of its output is in {log}")
