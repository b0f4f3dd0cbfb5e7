"""The update: a RAUC bundle that carries one slot's file, signed.

Owns the bundle's manifest. Called by __main__.py. The box believes it when its keyring (/etc/rauc/keyring.pem) holds
the certificate.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from guest.chroot import run_in_root
from guest.layout import say

from recipe.places import SOURCES, WORK, Release, Trees

COMPATIBLE = "levee-amd64"
# Public, as everything in the repository: it signs builds that are tried out.
TEST_KEY, TEST_CERTIFICATE = SOURCES / "keys" / "test.key.pem", SOURCES / "keys" / "test.cert.pem"
_LIMIT_S = 600


def manifest(release: Release) -> str:
    """What RAUC compares with the box before it writes anything."""
    return f"""[update]
compatible={COMPATIBLE}
version={release.version}

[bundle]
format=verity

[image.rootfs]
filename=slot.img
"""


def build(trees: Trees, release: Release, slot: Path, key: Path, certificate: Path) -> Path:
    """Makes and signs update.raucb in the work folder."""
    say("making the update")
    work = trees.work.base
    content, target = work / "bundle", work / "update.raucb"
    shutil.rmtree(content, ignore_errors=True)
    target.unlink(missing_ok=True)
    content.mkdir()
    (content / "manifest.raucm").write_text(manifest(release))
    (content / "slot.img").hardlink_to(slot)
    secrets = {"key.pem": key, "cert.pem": certificate}
    for name, source in secrets.items():
        shutil.copy(source, work / name)
    try:
        argv = ["rauc", "bundle", "--key=key.pem", "--cert=cert.pem", "bundle", target.name]
        run_in_root(trees.builder, argv, cwd=WORK, limit_s=_LIMIT_S, network=False)
    finally:
        (work / "key.pem").unlink()
    return target
