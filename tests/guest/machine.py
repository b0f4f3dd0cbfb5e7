"""The machine that the guest runs on: QEMU's argument list and which accelerator it gets.

Owns everything that is passed to QEMU and to the kernel's command line. Called by boot.py. Pure
but for the probe of KVM; starts nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from guest.kernel import tool_argv
from guest.layout import Layout

CPUS = 2
DEFAULT_MEMORY_MIB = 4096

_KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "loglevel=5",
    # A guest that has oopsed has failed; -no-reboot turns the reboot into QEMU's end.
    "oops=panic",
    "panic=-1",
    "random.trust_cpu=on",
    # Emulated: no side channels worth guarding, and two busy host cores are not a hung guest.
    "mitigations=off",
    "nowatchdog",
    "tsc=reliable",
    # Namespaces come and go all the time here; their clean-up waits for grace periods.
    "rcupdate.rcu_expedited=1",
    "audit=0",
)


@dataclass(frozen=True)
class Accelerator:
    """`argv`: for QEMU; `name`: for people."""

    name: str
    argv: tuple[str, ...]


_KVM = Accelerator("KVM", ("-accel", "kvm", "-cpu", "host"))
# la57 costs one more level in every emulated page walk.
_TCG = Accelerator("software emulation", ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off"))


def kvm_usable(cpuinfo: str, *, paravirtual: bool, device_usable: bool) -> bool:
    """Whether stock kernels run under this host's KVM.

    `-accel kvm -accel tcg` hangs instead of falling back where /dev/kvm is there but of the
    paravirtual kind (module kvm_pvm), so it is decided beforehand.
    """
    flags = {word for line in cpuinfo.splitlines() if line.startswith("flags") for word in line.split()}
    return bool(flags & {"vmx", "svm"}) and not paravirtual and device_usable


def choose_accelerator() -> Accelerator:
    usable = kvm_usable(
        Path("/proc/cpuinfo").read_text(),
        paravirtual=Path("/sys/module/kvm_pvm").exists(),
        device_usable=os.access("/dev/kvm", os.R_OK | os.W_OK),
    )
    return _KVM if usable else _TCG


def qemu_argv(
    layout: Layout, accelerator: Accelerator, *, initramfs: Path, console: Path, memory_mib: int
) -> list[str]:
    """The whole command: kernel messages go to file `console`, the command's output to stdout."""
    libraries = layout.tools / "usr/lib/x86_64-linux-gnu"
    return [
        # QEMU is killed when we die, however we die.
        *("setpriv", "--pdeathsig", "KILL"),
        *("env", f"QEMU_MODULE_DIR={libraries}/qemu"),
        *tool_argv(layout, "qemu-system-x86_64"),
        *("-L", str(layout.tools / "usr/share/qemu"), "-L", str(layout.tools / "usr/share/seabios")),
        *("-M", "q35,usb=off,vmport=off", "-nodefaults", "-no-user-config", "-display", "none"),
        *accelerator.argv,
        *("-smp", str(CPUS), "-m", str(memory_mib), "-no-reboot"),
        *("-kernel", str(layout.vmlinux), "-initrd", str(initramfs)),
        *("-append", " ".join(_KERNEL_ARGUMENTS)),
        *("-chardev", f"file,id=serial,path={console}", "-serial", "chardev:serial"),
        *("-chardev", "stdio,id=output,signal=off"),
        *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=output"),
        *("-device", "virtio-rng-pci"),
        *_share("root", layout.root, writable=False),
        *_share("out", layout.out, writable=True),
    ]


def _share(tag: str, folder: Path, *, writable: bool) -> tuple[str, ...]:
    access = "on" if not writable else "off"
    # multidevs=remap: should the cache lie on several file systems, inode numbers stay distinct.
    backend = f"local,id={tag},path={folder},security_model=none,multidevs=remap,readonly={access}"
    return ("-fsdev", backend, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")
