"""The disk: a GPT with boot loaders for both firmwares, slot A filled, slot B empty, LEVEE and data fresh.

Owns the assembling, without loop devices: file systems are made in files (mkfs.vfat and mtools, mke2fs) and copied to
their places. Called by __main__.py.

    BIOS   the MBR's code (GRUB's boot.img) loads core.img from the partition levee-bios, which reads levee-esp
    UEFI   /EFI/BOOT/BOOTX64.EFI is Debian's shim, signed by Microsoft; it starts Debian's signed GRUB, which reads
           /EFI/debian/grub.cfg, and starts Debian's signed kernel only
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from guest.chroot import run_in_root
from guest.layout import say

from recipe.places import (
    DISK_MIB,
    MIB,
    PARTITIONS,
    SECTOR_BYTES,
    SOURCES,
    WORK,
    Partition,
    Release,
    Trees,
    identifier,
    partition,
)

_LIMIT_S = 300
# GRUB's i386-pc boot.img and diskboot.img, grub/include/grub/i386/pc/boot.h: where the first sector of core.img stands,
# the jump that a disk does not need, and in core.img's first sector the block list's only entry.
_KERNEL_SECTOR, _DRIVE_CHECK, _BLOCKLIST_START, _MBR_CODE_BYTES = 0x5C, 0x66, 0x1F4, 440
_GRUB_MODULES = (
    "biosdisk", "part_gpt", "fat", "squash4", "gzio", "normal", "configfile", "linux", "loadenv", "search",
    "search_label", "regexp", "echo", "test", "true", "serial", "terminal", "reboot", "sleep", "minicmd", "ls", "cat",
    "all_video", "halt",
)  # fmt: skip
_ENVIRONMENT = "ORDER='A B' A_OK=1 A_TRY=0 B_OK=0 B_TRY=0"


def table(label_id: str) -> str:
    """The partition table as sfdisk(8) reads it."""
    lines = ["label: gpt", f"label-id: {label_id}", "unit: sectors", "first-lba: 2048"]
    lines += [
        f"start={one.first_sector}, size={one.size_mib * MIB // SECTOR_BYTES}, type={one.kind}, "
        f"uuid={identifier(one.label)}, name={one.label}"
        for one in PARTITIONS
    ]
    return "\n".join(lines) + "\n"


def boot_code(boot: bytes, core: bytes, first_sector: int) -> tuple[bytes, bytes]:
    """GRUB's boot.img and core.img with their places on this disk written in, as grub-bios-setup would."""
    code, rest = bytearray(boot[:_MBR_CODE_BYTES]), bytearray(core)
    struct.pack_into("<Q", code, _KERNEL_SECTOR, first_sector)
    code[_DRIVE_CHECK : _DRIVE_CHECK + 2] = b"\x90\x90"
    struct.pack_into("<Q", rest, _BLOCKLIST_START, first_sector + 1)
    return bytes(code), bytes(rest)


def build(trees: Trees, release: Release, slot: Path) -> Path:
    """Makes the disk's file in the work folder."""
    say("making the disk")
    work = trees.work.base
    for name in ("boot", "stick"):
        shutil.copytree(SOURCES / name, work / name)
    for path in (work / "stick").iterdir():  # for editors that know no other ends of lines
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    (work / "table").write_text(table(identifier(release.version)))
    esp, stick, data = partition("levee-esp"), partition("LEVEE"), partition("levee-data")
    volume = identifier("volume")[:8]
    grub = "/usr/lib/grub/i386-pc"
    script = f"""
export MTOOLS_SKIP_CHECK=1
truncate -s {esp.size_mib}M esp.img
mkfs.vfat --invariant -F 32 -S 512 -s 1 -i {volume} -n LEVEE-ESP esp.img >/dev/null
mmd -i esp.img ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -m -i esp.img /usr/lib/shim/shimx64.efi.signed ::/EFI/BOOT/BOOTX64.EFI
mcopy -m -i esp.img /usr/lib/shim/mmx64.efi.signed ::/EFI/BOOT/mmx64.efi
mcopy -m -i esp.img /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::/EFI/BOOT/grubx64.efi
touch -d @{release.epoch_s} boot/grub.cfg stick/*
mcopy -m -i esp.img boot/grub.cfg ::/EFI/debian/grub.cfg
grub-editenv grubenv create
grub-editenv grubenv set {_ENVIRONMENT}
touch -d @{release.epoch_s} grubenv
mcopy -m -i esp.img grubenv ::/EFI/debian/grubenv
truncate -s {stick.size_mib}M stick.img
mkfs.vfat --invariant -i {volume} -n LEVEE stick.img >/dev/null
mcopy -m -i stick.img stick/* ::/
truncate -s {data.size_mib}M data.img
mke2fs -q -t ext4 -L levee-data -U {identifier("data")} -E hash_seed={identifier("hash")},root_owner=0:0 data.img
grub-mkimage -O i386-pc -p '(,gpt{esp.number})/EFI/debian' -o core.img {" ".join(_GRUB_MODULES)}
cp {grub}/boot.img boot.img
truncate -s {DISK_MIB}M disk.img
sfdisk --quiet disk.img < table
"""
    variables = {"SOURCE_DATE_EPOCH": str(release.epoch_s)}
    run_in_root(trees.builder, ["sh", "-ec", script], cwd=WORK, limit_s=_LIMIT_S, variables=variables, network=False)
    disk = work / "disk.img"
    bios = partition("levee-bios")
    code, core = boot_code((work / "boot.img").read_bytes(), (work / "core.img").read_bytes(), bios.first_sector)
    _write(disk, 0, code)
    _write(disk, bios.start_mib * MIB, core)
    for one, name in ((esp, "esp.img"), (partition("levee-a"), slot.name), (stick, "stick.img"), (data, "data.img")):
        _place(disk, one, work / name)
    return disk


def _write(disk: Path, offset_bytes: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(offset_bytes)
        file.write(data)


def _place(disk: Path, where: Partition, source: Path) -> None:
    """Copies a partition's content; blocks of zeros stay holes, so that the file is small on our disk too."""
    with source.open("rb") as reader, disk.open("r+b") as writer:
        offset = where.start_mib * MIB
        while block := reader.read(MIB):
            if block.strip(b"\0"):
                writer.seek(offset)
                writer.write(block)
            offset += len(block)
