"""The two Debian 13 trees: one with the tools that make images, one that becomes the image's root.

Owns the lists of packages and what is left out of them. Called by __main__.py. Built once for each recipe, with the
mirror that the host's apt uses (guest.mirror); `image clean` forgets them, which is how newer packages come in.
"""

from __future__ import annotations

import hashlib
import os
import shutil

from guest.layout import GuestError, say
from guest.mirror import SUITE, image_mirror
from guest.userland import Tree, make_trees

from recipe.places import CACHE, Trees

# Raised by hand when the way of building the trees changes.
_RECIPE = 1
BUILDER = (
    "cryptsetup-bin", "dosfstools", "e2fsprogs", "fdisk", "grub-efi-amd64-signed", "grub-pc-bin", "mtools", "openssl",
    "ovmf", "rauc", "shim-signed", "squashfs-tools", "zstd",
)  # fmt: skip
# The image: kernel, firmware of wired NICs, systemd, what Levee stands on, what an operator needs. No compiler, no pip.
IMAGE = (
    "linux-image-amd64", "initramfs-tools", "busybox", "zstd", "cryptsetup-bin", "e2fsprogs", "fdisk", "grub-common",
    "firmware-bnx2", "firmware-bnx2x", "firmware-misc-nonfree", "firmware-realtek",
    "apparmor", "dbus", "kmod", "login", "mount", "passwd", "systemd-sysv", "systemd-timesyncd", "udev",
    "libbpf1", "libmnl0", "libnetfilter-queue1", "libsystemd0", "nftables", "python3", "ethtool", "iproute2",
    "rauc", "rauc-service", "openssh-server",
    "bpftool", "iputils-ping", "less", "nano", "procps", "tcpdump",
)  # fmt: skip
_MODULES = "path-exclude=/usr/lib/modules/*/kernel"
_FIRMWARE = "path-exclude=/usr/lib/firmware"
_WITHOUT = (
    "force-unsafe-io",
    *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man", "bash-completion", "zsh")),
    *(f"{_MODULES}/{name}/*" for name in ("sound", "drivers/media", "drivers/net/wireless", "drivers/staging")),
    *(f"{_MODULES}/{name}/*" for name in ("drivers/gpu/drm/amd", "drivers/gpu/drm/nouveau", "drivers/gpu/drm/i915")),
    *(f"{_MODULES}/{name}/*" for name in ("drivers/gpu/drm/xe", "drivers/gpu/drm/radeon", "net/wireless")),
    *(f"{_MODULES}/{name}/*" for name in ("drivers/bluetooth", "net/bluetooth", "net/mac80211", "drivers/infiniband")),
    *(f"{_MODULES}/{name}/*" for name in ("drivers/iio", "drivers/isdn", "drivers/comedi", "fs/ocfs2", "fs/xfs")),
    *(f"{_FIRMWARE}/{name}*" for name in ("rtlwifi", "rtl_bt", "rtw88", "rtw89", "mediatek", "nvidia", "amdgpu")),
)


def current() -> Trees:
    """The trees that belong to today's recipe, built or not."""
    recipe = "\n".join((f"{_RECIPE} {SUITE}", *BUILDER, "--", *IMAGE, "--", *_WITHOUT))
    return Trees(CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:16])


def ensure() -> Trees:
    """Builds what is missing; two minutes and 400 MB of packages once."""
    trees = current()
    if trees.complete.exists():
        return trees
    if os.geteuid() != 0:
        raise GuestError("building the image needs root (mmdebstrap, chroot)", "run it with sudo")
    if CACHE.exists():
        for old in CACHE.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for layout in (trees.builder, trees.base):
        layout.base.mkdir(parents=True)
    say("installing Debian 13 for the image, once (some minutes)")
    make_trees(
        image_mirror(),
        (
            Tree("builder", trees.builder, trees.builder.root, "apt", BUILDER, _WITHOUT),
            Tree("base", trees.base, trees.base.root, "essential", IMAGE, _WITHOUT),
        ),
    )
    trees.complete.touch()
    return trees
