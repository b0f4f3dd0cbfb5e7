"""The machine: QEMU with the image as its disk, its serial line, its screen and its reset button.

Owns QEMU's process and its arguments. QEMU and the firmware are unpacked Debian 13 packages (tests/guest and the
recipe's builder have them). Called by the fixtures and the tests. Knows nothing of what runs in the machine.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from guest.kernel import tool_argv
from guest.layout import Layout
from guest.machine import choose_accelerator

MEMORY_MIB = 1024
_POLL_S = 0.05


class Firmware(enum.StrEnum):
    """What starts the machine's boot loader."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE = "uefi-secure-boot"


class MachineError(Exception):
    """The machine did not do what it was told in time; the end of its console is in the message."""


def _firmware(kind: Firmware, ovmf: Path, folder: Path) -> list[str]:
    if kind is Firmware.BIOS:
        return []
    suffix = ".ms" if kind is Firmware.SECURE else ""
    variables = folder / "vars.fd"
    shutil.copy(ovmf / f"OVMF_VARS_4M{suffix}.fd", variables)
    code = f"if=pflash,format=raw,unit=0,readonly=on,file={ovmf / f'OVMF_CODE_4M{suffix}.fd'}"
    secure = ["-global", "driver=cfi.pflash01,property=secure,value=on"] if suffix else []
    return [*secure, "-drive", code, "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]


def _management(port: int) -> list[str]:
    """A third NIC; the host's `port` leads to SSH at 10.0.2.15, which is what QEMU's user network expects."""
    forward = f"user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22"
    return ["-netdev", forward, "-device", "virtio-net-pci,netdev=management,mac=02:4c:1a:00:00:02,addr=0x12,romfile="]


def qemu_argv(
    tools: Layout,
    ovmf: Path,
    kind: Firmware,
    disk: Path,
    taps: tuple[int, int],
    folder: Path,
    ssh_port: int | None = None,
) -> list[str]:
    """The whole command; sockets and the console's log are made in `folder`."""
    libraries = tools.tools / "usr/lib/x86_64-linux-gnu"
    shares = ("qemu", "seabios")
    nics = [
        word
        for number, file in enumerate(taps)
        for word in (
            *("-netdev", f"tap,id=n{number},fd={file}"),
            *("-device", f"virtio-net-pci,netdev=n{number},mac=02:4c:1a:00:00:0{number},addr=0x1{number},romfile="),
        )
    ]
    return [
        *("setpriv", "--pdeathsig", "KILL", "nice", "-n", "10"),
        *("env", f"QEMU_MODULE_DIR={libraries}/qemu"),
        *tool_argv(tools, "qemu-system-x86_64"),
        *(word for share in shares for word in ("-L", str(tools.tools / "usr/share" / share))),
        *("-M", f"q35,vmport=off,smm={'on' if kind is Firmware.SECURE else 'off'}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-device", "VGA,romfile=vgabios-stdvga.bin"),
        *choose_accelerator().argv,
        *("-smp", "1", "-m", str(MEMORY_MIB)),
        *_firmware(kind, ovmf, folder),
        *("-drive", f"if=none,id=disk,format=raw,cache=unsafe,file={disk}"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=1"),
        *("-device", "virtio-rng-pci"),
        *nics,
        *(_management(ssh_port) if ssh_port else ()),
        *("-chardev", f"socket,id=serial,path={folder}/serial,server=on,wait=off,logfile={folder}/console.log"),
        *("-serial", "chardev:serial"),
        *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
    ]


class Machine:
    """A running machine; `console` is all that its serial line has said."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._serial = _connected(folder / "serial", process)
        self._qmp = _connected(folder / "qmp", process)
        self._replies = self._qmp.makefile("r")
        self._replies.readline()  # the greeting
        self.qmp("qmp_capabilities")
        self._said = bytearray()
        self._read_to = 0
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while data := self._serial.recv(4096):
                self._said += data

    @property
    def console(self) -> str:
        return self._said.decode(errors="replace")

    def qmp(self, command: str, **arguments: str) -> object:
        """One command of QEMU's monitor; its return value."""
        self._qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._replies.readline():
            reply = json.loads(line)
            if "event" not in reply:
                return reply.get("return")
        raise MachineError("QEMU has ended")

    def expect(self, pattern: str, limit_s: float) -> re.Match[str]:
        """Waits until the serial line says it, from where the last expect ended."""
        limit = time.monotonic() + limit_s
        compiled = re.compile(pattern)
        while True:
            text = self._said[self._read_to :].decode(errors="replace")
            if found := compiled.search(text):
                self._read_to += len(text[: found.end()].encode())
                return found
            if self._process.poll() is not None:
                raise MachineError(f"QEMU has ended: {(self._folder / 'qemu.log').read_text()}")
            if time.monotonic() > limit:
                tail = "\n".join(self.console.splitlines()[-40:])
                raise MachineError(f"{pattern!r} was not said in {limit_s:.0f} s; the last of it:\n{tail}")
            time.sleep(_POLL_S)

    def send(self, text: str) -> None:
        """Types on the serial line."""
        self._serial.sendall(text.encode())

    def run(self, command: str, limit_s: float = 60.0) -> tuple[int, str]:
        """A command of the operator's shell: its exit code and what it printed."""
        self.send(f'{command}; echo "<<"$?">>"\n')
        found = self.expect(r"(?s)\r\n(.*?)<<(\d+)>>", limit_s)
        return int(found.group(2)), found.group(1).replace("\r\n", "\n")

    def plain_shell(self) -> None:
        """In place of the login's shell one that neither repeats what is typed nor colours its prompt."""
        self.send("stty -echo; exec env PS1= TERM=dumb bash --noediting --norc\n")
        self.run("stty -echo cols 200")

    def close(self) -> None:
        """When QEMU has ended: its end of the sockets is closed, and so the listener ends too."""
        self._listener.join()
        for one in (self._replies, self._qmp, self._serial):
            one.close()

    def reset(self) -> None:
        """What the reset button does: no warning, as a power cut that is over at once."""
        self.qmp("system_reset")

    def screen(self, target: Path) -> Path:
        """What the screen shows, as a PNG."""
        self.qmp("screendump", filename=str(target), format="png")
        return target


def _connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    limit = time.monotonic() + 30
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if process.poll() is not None or time.monotonic() > limit:
                raise MachineError(f"QEMU did not start: {(path.parent / 'qemu.log').read_text()}") from None
            time.sleep(_POLL_S)
        else:
            return connection


@contextlib.contextmanager
def booted(
    tools: Layout,
    ovmf: Path,
    kind: Firmware,
    disk: Path,
    taps: tuple[int, int],
    folder: Path,
    ssh_port: int | None = None,
) -> Iterator[Machine]:
    """The machine, switched on; switched off at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("serial", "qmp"):
        (folder / name).unlink(missing_ok=True)
    argv = qemu_argv(tools, ovmf, kind, disk, taps, folder, ssh_port)
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=taps, start_new_session=True
        )
    machine: Machine | None = None
    try:
        machine = Machine(process, folder)
        yield machine
    finally:
        process.kill()
        process.wait()
        if machine is not None:
            machine.close()
        if os.environ.get("LEVEE_IMAGE_SHOW"):
            print((folder / "console.log").read_text(errors="replace"))
