"""Kernel and initramfs for a direct boot: vmlinux by PVH, up to a dozen modules, busybox, two scripts.

Owns the unpacking of Debian's kernel image and modules and the writing of the cpio archive. Called
by userland.py (unpack_kernel) and machine.py (write_initramfs). An unpacked kernel saves the guest,
which is emulated, some seconds of decompressing; stage 1 inserts modules with busybox, which reads
no .xz, so they are unpacked too.
"""

from __future__ import annotations

import lzma
import struct
import subprocess
from pathlib import Path

from guest.layout import GuestError, Layout

# What it takes to mount the root and to speak, where it is not built in: all else is loaded by modprobe from there.
_BOOT_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
# Linux/x86 boot protocol (Documentation/arch/x86/boot.rst): offsets into bzImage, little endian.
_SETUP_SECTS = 0x1F1
_PAYLOAD_OFFSET = 0x248
_PAYLOAD_LENGTH = 0x24C
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_XZ_MAGIC = b"\xfd7zXZ\0"
_SCRIPTS = Path(__file__).resolve().parent


def payload_of(image: bytes) -> bytes:
    """The zstd or xz stream inside a bzImage. Raises GuestError for any other kind of file.

    The last four bytes of the payload are its unpacked size, appended by the kernel's build.
    """
    if len(image) < _PAYLOAD_LENGTH + 4 or image[0x202:0x206] != b"HdrS":
        raise GuestError("the kernel image has no boot protocol header")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_OFFSET)
    start = (image[_SETUP_SECTS] + 1) * 512 + offset
    payload = image[start : start + length - 4]
    if not payload.startswith((_ZSTD_MAGIC, _XZ_MAGIC)):
        raise GuestError("the kernel image is packed neither with zstd nor with xz")
    return payload


def tool_argv(layout: Layout, program: str) -> list[str]:
    """Argument list to run a program of the tools tree on the host with that tree's libraries."""
    libraries = layout.tools / "usr/lib/x86_64-linux-gnu"
    # Some libraries lie one folder lower (pulse, blas); QEMU's own rpath does not hold here.
    paths = [libraries, *sorted(path for path in libraries.iterdir() if any(path.glob("lib*.so*")))]
    return [
        str(layout.tools / "usr/lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        ":".join(map(str, paths)),
        str(layout.tools / "usr/bin" / program),
    ]


def insertion_order(names: tuple[str, ...], dependencies: str, builtin: str = "") -> list[str]:
    """Paths of modules in order of insertion, from modules.dep's text (`path: needed ...`).

    builtin: modules.builtin's text; what stands there needs no insertion.
    """
    needs = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.partition(".")[0]: path for path in needs}
    order: list[str] = []
    inside = {Path(line).name.partition(".")[0] for line in builtin.splitlines()}
    for name in names:
        if name in inside:
            continue
        if name not in by_name:
            raise GuestError(f"the kernel has no module {name}, nor is it built in")
        path = by_name[name]
        # modules.dep lists what to insert last first.
        for item in (*reversed(needs[path]), path):
            if item not in order:
                order.append(item)
    return order


def _unpacked(layout: Layout, payload: bytes) -> bytes:
    if payload.startswith(_XZ_MAGIC):
        return lzma.decompress(payload)
    argv = [*tool_argv(layout, "zstd"), "-dc"]
    return subprocess.run(argv, input=payload, stdout=subprocess.PIPE, check=True).stdout


def unpack_kernel(layout: Layout, tree: Path, release: str) -> None:
    """Write layout.vmlinux and layout.modules (NN-name.ko: the number is the order of insertion).

    tree: where the kernel's package was unpacked; its modules are in the root already.
    """
    image = (tree / "boot" / f"vmlinuz-{release}").read_bytes()
    layout.vmlinux.write_bytes(_unpacked(layout, payload_of(image)))

    folder = layout.root / "usr/lib/modules" / release
    layout.modules.mkdir()
    texts = ((folder / name).read_text() for name in ("modules.dep", "modules.builtin"))
    order = insertion_order(_BOOT_MODULES, *texts)
    for number, path in enumerate(order):
        packed = (folder / path).read_bytes()
        target = layout.modules / f"{number:02}-{Path(path).name.partition('.')[0]}.ko"
        target.write_bytes(lzma.decompress(packed) if path.endswith(".xz") else packed)


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """One newc cpio entry (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    raw = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    body = head + raw
    body += bytes(-len(body) % 4)
    return body + data + bytes(-len(data) % 4)


def write_initramfs(layout: Layout, target: Path) -> None:
    """Write the archive: busybox, modules and both stages' scripts. Cheap, done for every boot."""
    busybox = layout.tools / "usr/bin/busybox"
    parts = [_entry(name, 0o040755, b"") for name in ("dev", "proc", "sys", "modules", "bin")]
    parts.append(_entry("bin/busybox", 0o100755, busybox.read_bytes()))
    parts.append(_entry("init", 0o100755, (_SCRIPTS / "stage1.sh").read_bytes()))
    parts.append(_entry("stage2.sh", 0o100755, (_SCRIPTS / "stage2.sh").read_bytes()))
    parts += [_entry(f"modules/{path.name}", 0o100644, path.read_bytes()) for path in sorted(layout.modules.iterdir())]
    parts.append(_entry("TRAILER!!!", 0, b""))
    with target.open("wb") as sink:
        for part in parts:
            sink.write(part)
