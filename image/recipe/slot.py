"""A slot: the image's root with the product in it, as one file that a slot's partition or an update carries.

Owns what is laid over Debian's tree, and the layout of the file: a squashfs, one block of text with the root hash of
dm-verity, the hash tree (root/etc/initramfs-tools/scripts/levee reads it in the same order). Called by __main__.py.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

from guest.chroot import run_in_root
from guest.layout import TREE_IN_GUEST, GuestError, say
from guest.product import build_product
from guest.userland import ensure_built

from recipe import product
from recipe.places import MIB, REPOSITORY, SLOT_MIB, SOURCES, WORK, Release, Trees, identifier

BLOCK_BYTES = 4096
# bytes_used in the superblock: linux/fs/squashfs/squashfs_fs.h.
_SQUASHFS_MAGIC, _BYTES_USED_AT = b"hsqs", 40
_LIMIT_S = 1500
_PYTHON = "usr/lib/levee/python"
_UNITS = (
    ("levee.service", "etc/systemd/system/levee.service"),
    ("levee.sysusers", "etc/sysusers.d/levee.conf"),
    ("levee.tmpfiles", "etc/tmpfiles.d/levee.conf"),
)
_ENABLED = (
    "levee-ports",
    "levee-stick",
    "levee-good",
    "levee-grow",
    "levee-mirror",
    "levee-update",
    "levee",
    "levee-restart.path",
    "levee-asked.path",
    "nftables",
    "ssh",
    "rauc",
    "apparmor",
)
# What a system that cannot change need not do at its start, nobody here uses, or would mark every boot good unseen.
_MASKED = (
    "rauc-mark-good.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "ssh.socket", "systemd-networkd.service", "systemd-firstboot.service",
    "systemd-journal-catalog-update.service", "systemd-update-done.service", "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
)  # fmt: skip
# They would make units of what they find: a socket for SSH, partitions of other systems, scripts of old ones.
_GENERATORS = (
    "systemd-debug-generator", "systemd-gpt-auto-generator", "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator", "systemd-run-generator", "systemd-ssh-generator", "systemd-system-update-generator",
    "systemd-sysv-generator", "systemd-tpm2-generator",
)  # fmt: skip
# Debian's own, as it came; what the box keeps lies on the data partition, which is mounted over /var.
_REMOVED = (
    "var",
    "boot",
    "usr/share/doc",
    "usr/share/man",
    "etc/machine-id",
    "etc/ssh/ssh_host_*",
    "vmlinuz*",
    "initrd*",
)


def build(trees: Trees, release: Release, keyring: Path) -> Path:
    """Makes the slot's file; updates of the box are believed when `keyring` (PEM certificates) has signed them."""
    guest = ensure_built()
    build_product(guest)
    say("packing the product")
    folder = TREE_IN_GUEST / ".build" / "image-python"
    python = guest.root / folder.relative_to("/")
    shutil.rmtree(python, ignore_errors=True)
    pins = {"PIP_CONSTRAINT": f"{TREE_IN_GUEST}/requirements/versions.txt"}
    wheel = next((guest.tree / ".build" / "wheel").glob("*.whl"))
    pip = [".venv/bin/pip", *product.pip_arguments(Path(".build/wheel") / wheel.name, folder)]
    run_in_root(guest, pip, cwd=TREE_IN_GUEST, limit_s=_LIMIT_S, variables=pins)
    product.tidy(python)
    say("making the root")
    work = trees.work
    shutil.rmtree(work.base, ignore_errors=True)
    work.base.mkdir()
    # Not copytree(): there are device files in it.
    subprocess.run(["cp", "-a", "--reflink=auto", str(trees.base.root), str(work.root)], check=True)
    shutil.copytree(python, work.root / _PYTHON)
    _overlay(work.root, release, keyring)
    _finish(trees, release)
    return _pack(trees, release)


def _overlay(root: Path, release: Release, keyring: Path) -> None:
    shutil.copytree(SOURCES / "root", root, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(SOURCES / "chassis", root / _PYTHON / "chassis", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SOURCES / "stick", root / "usr/share/levee/stick")
    for source, target in _UNITS:
        shutil.copy(SOURCES / "units" / source, root / target)
    shutil.copy(keyring, root / "etc/rauc/keyring.pem")
    shutil.copytree(REPOSITORY / "configs", root / "usr/share/levee/configs")
    (root / "etc/hostname").write_text("levee\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost levee\n::1 localhost levee\n")
    (root / "etc/issue").write_text(f"Levee {release.version}  \\l\n\n")
    (root / "etc/levee-release").write_text(f"{release.version}\n")
    for folder in ("etc/levee", "boot/esp"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _finish(trees: Trees, release: Release) -> None:
    """What has to run in the root itself; then Debian's leavings are taken away."""
    root, variables = trees.work.root, {"SOURCE_DATE_EPOCH": str(release.epoch_s)}
    kernel = next((root / "usr/lib/modules").iterdir()).name
    masked = [f"system/{name}" for name in _MASKED] + [f"system-generators/{name}" for name in _GENERATORS]
    mask = "\n".join(f"ln -sf /dev/null /etc/systemd/{name}" for name in masked)
    # Debian's profiles are for programs that are not here, but for this one; compiling them takes longer than the boot.
    profiles = "find /etc/apparmor.d -maxdepth 1 -type f ! -name usr.bin.tcpdump -delete"
    script = f"""
set -e
passwd --quiet --lock root
systemd-sysusers
systemctl --quiet enable {" ".join(_ENABLED)}
systemctl --quiet disable systemd-timesyncd
mkdir -p /etc/systemd/system-generators
{mask}
{profiles}
systemctl --quiet set-default multi-user.target
depmod {kernel}
# mkinitramfs keeps the times of files that are older than the commit; ours are as old as their checkout.
find /etc/initramfs-tools -exec touch -d @{release.epoch_s} {{}} +
mkinitramfs -o /new.initrd {kernel}
compile="python3 -m compileall -q -f --invalidation-mode unchecked-hash"
PYTHONHASHSEED=0 $compile /usr/lib/python3 /usr/lib/python3.* /{_PYTHON} || true
dpkg-query -W -f '${{Package}} ${{Version}}\\n' | LC_ALL=C sort > /usr/share/levee/packages.txt
"""
    run_in_root(trees.work, ["sh", "-c", script], cwd=Path("/"), limit_s=_LIMIT_S, variables=variables, network=False)
    shutil.copy(root / "boot" / f"vmlinuz-{kernel}", root / "new.vmlinuz")
    for pattern in _REMOVED:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("var", "boot", "boot/esp", "proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(exist_ok=True)
    for name in ("vmlinuz", "initrd"):
        (root / f"new.{name}").replace(root / "boot" / (name if name == "vmlinuz" else "initrd.img"))
    (root / "etc/machine-id").write_text("uninitialized\n")
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.write_text("# Names are resolved by nobody here: the box is managed by addresses.\n")


def verity_line(printed: str) -> bytes:
    """The text block for what `veritysetup format` printed. Raises GuestError when there is no root hash in it."""
    found = re.search(r"^Root hash:\s*([0-9a-f]{64})$", printed, re.MULTILINE)
    if found is None:
        raise GuestError(f"veritysetup printed no root hash: {printed}")
    return f"LEVEE1 roothash={found.group(1)}\n".encode().ljust(BLOCK_BYTES, b"\0")


def squashfs_blocks(head: bytes) -> int:
    """How many blocks of 4096 bytes a squashfs takes, from its first 96 bytes. Raises GuestError for anything else."""
    if len(head) < 96 or not head.startswith(_SQUASHFS_MAGIC):
        raise GuestError("this is no squashfs")
    used: int = struct.unpack_from("<Q", head, _BYTES_USED_AT)[0]
    return -(-used // BLOCK_BYTES)


def _in_builder(trees: Trees, script: str, release: Release) -> None:
    variables = {"SOURCE_DATE_EPOCH": str(release.epoch_s)}
    run_in_root(trees.builder, ["sh", "-ec", script], cwd=WORK, limit_s=_LIMIT_S, variables=variables, network=False)


def _pack(trees: Trees, release: Release) -> Path:
    """Squashfs with gzip, which GRUB reads; then the text and the hash tree behind it."""
    say("packing the slot")
    work, slot = trees.work.base, trees.work.base / "slot.img"
    squash = "env -u SOURCE_DATE_EPOCH mksquashfs root slot.img -comp gzip -noappend -no-progress -quiet -processors 2"
    options = f"-reproducible -no-xattrs -mkfs-time {release.epoch_s} -all-time {release.epoch_s}"
    _in_builder(trees, f"{squash} {options}", release)
    with slot.open("r+b") as file:
        blocks = squashfs_blocks(file.read(96))
        file.truncate((blocks + 1) * BLOCK_BYTES)
    salt = identifier(release.version).replace("-", "") * 2
    options = f"--hash-offset {(blocks + 1) * BLOCK_BYTES} --data-blocks {blocks} --salt {salt}"
    uuid = identifier(f"verity {release.version}")
    _in_builder(trees, f"veritysetup format {options} --uuid {uuid} slot.img slot.img > verity.txt", release)
    with slot.open("r+b") as file:
        file.seek(blocks * BLOCK_BYTES)
        file.write(verity_line((work / "verity.txt").read_text()))
    size_mib = slot.stat().st_size / MIB
    if size_mib > SLOT_MIB:
        raise GuestError(f"the slot takes {size_mib:.0f} MiB, its partition has {SLOT_MIB} MiB")
    say(f"the slot takes {size_mib:.0f} of {SLOT_MIB} MiB")
    return slot
