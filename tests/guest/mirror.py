"""Where Debian packages come from: the host's own apt configuration, applied to Debian 13 (or a named suite).

Owns the translation of the host's apt set-up (mirror, proxy, keyring) into what mmdebstrap needs.
Called by userland.py and the image's recipe. No registry is named here: what the host may reach, its apt sources say.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from guest.layout import GuestError

SUITE = "trixie"
# Indices of a host that has never run `apt-get update` are still listed: they come from its sources.
_FIELDS = "$(REPO_URI)|$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
# What of the host's apt options matters for fetching: proxies, certificates, time-outs, dates.
_ACQUIRE = (
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::http ",
    "Acquire::https ",
    "Acquire::Retries",
    "Acquire::Check-",
)


@dataclass(frozen=True)
class Mirror:
    """`sources`: one sources.list line for `suite`; `apt_options`: lines for mmdebstrap's --aptopt."""

    suite: str
    sources: str
    apt_options: tuple[str, ...]


def _run(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise GuestError(f"{argv[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _host_codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise GuestError("/etc/os-release names no VERSION_CODENAME", "the guest is built on Debian 12 or 13")


def parse_targets(text: str, codename: str) -> tuple[str, str]:
    """Find the main archive among `apt-get indextargets` lines (in _FIELDS' order).

    Returns (URI, keyring path or ""): the entry of suite `codename` (or "stable"), component main,
    that is not the security or updates archive. Raises GuestError if the host has none.
    """
    for line in text.splitlines():
        uri, found, release, component, signed_by = line.split("|")[:5]
        if component == "main" and (release == codename or found == codename) and "-security" not in uri:
            keyring = signed_by if signed_by.startswith("/") else ""
            return uri, keyring
    raise GuestError(
        f"the apt sources of this host name no archive for {codename}/main",
        "add one to /etc/apt/sources.list.d and run apt-get update",
    )


def fetch_options(dump: str) -> tuple[str, ...]:
    """Those lines of `apt-config dump` that say how to fetch; list heads without a value are left out."""
    lines = (line.strip() for line in dump.splitlines())
    return tuple(line for line in lines if line.startswith(_ACQUIRE) and not line.endswith('"";'))


def parse_security(text: str) -> str:
    """The URI of the archive with security updates, "" if the host has none; `text` as for parse_targets()."""
    for line in text.splitlines():
        uri, found, release, component = line.split("|")[:4]
        if component == "main" and (found.endswith("-security") or release.endswith("-security")):
            return uri
    return ""


def _targets() -> str:
    return _run("apt-get", "indextargets", "--format", _FIELDS, "Created-By: Packages")


def host_mirror(suite: str = SUITE) -> Mirror:
    """The host's mirror, keyring and fetch options."""
    uri, keyring = parse_targets(_targets(), _host_codename())
    signed = f"[signed-by={keyring}] " if keyring else ""
    return Mirror(suite, f"deb {signed}{uri} {suite} main\n", fetch_options(_run("apt-config", "dump")))


def image_mirror() -> Mirror:
    """As host_mirror(), with updates and firmware: what an image for real machines is made of."""
    text = _targets()
    uri, keyring = parse_targets(text, _host_codename())
    signed = f"[signed-by={keyring}] " if keyring else ""
    archives = [(uri, SUITE), (uri, f"{SUITE}-updates")]
    if security := parse_security(text):
        archives.append((security, f"{SUITE}-security"))
    sources = "".join(f"deb {signed}{where} {suite} main non-free-firmware\n" for where, suite in archives)
    return Mirror(SUITE, sources, fetch_options(_run("apt-config", "dump")))
