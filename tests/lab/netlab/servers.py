"""Real servers in the server's namespace: nginx, sshd, iperf3. Each is a context manager.

Owns their configuration and files, kept in a directory the caller gives. Called by tests and the
demo. They know nothing of the appliance: it is the point of it that they need not.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from netlab import netns
from netlab.names import Names
from netlab.process import LabError, in_namespace, run, tail

READY_LIMIT_S = 20.0  # an emulated guest is slow

_NGINX = """
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log;
daemon off;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_max_body_size 0;
    server {{
        listen 80 backlog={backlog};
        listen [::]:80 backlog={backlog};
        root {dir}/www;
        location = /small {{ default_type text/plain; return 200 "levee lab\\n"; }}
    }}
}}
"""

_SSHD = """
ListenAddress 0.0.0.0
ListenAddress ::
HostKey {dir}/host_key
PidFile none
UsePAM no
StrictModes no
MaxStartups 1000
"""


@contextlib.contextmanager
def running(names: Names, argv: Sequence[str], log: Path, port: int) -> Iterator[int]:
    """A server process in the server's namespace, from the moment it listens on `port`."""
    with log.open("ab") as out:
        process = subprocess.Popen(in_namespace(names.server, argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _wait_listening(names, process, port, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_listening(names: Names, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + READY_LIMIT_S
    while process.poll() is None and time.monotonic() < limit:
        with netns.new_socket(names.server, socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise LabError(f"no server on port {port} (exit {process.poll()}):\n{tail(log)}")


@contextlib.contextmanager
def nginx(names: Names, directory: Path, backlog: int = 4096) -> Iterator[int]:
    """Port 80, both families: /small, and the files of `directory`/www."""
    (directory / "www").mkdir(parents=True, exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(dir=directory, backlog=backlog))
    argv = ["nginx", "-p", str(directory), "-e", str(directory / "nginx.log"), "-c", str(config)]
    with running(names, argv, directory / "nginx.out", 80) as pid:
        yield pid


@contextlib.contextmanager
def sshd(names: Names, directory: Path) -> Iterator[int]:
    """Port 22, both families: a server that speaks first."""
    key = directory / "host_key"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on this one for privilege separation
    config = directory / "sshd_config"
    config.write_text(_SSHD.format(dir=directory))
    with running(names, ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], directory / "sshd.log", 22) as pid:
        yield pid


@contextlib.contextmanager
def iperf3(names: Names, directory: Path) -> Iterator[int]:
    """Port 5201, both families."""
    with running(names, ["iperf3", "-s"], directory / "iperf3.log", 5201) as pid:
        yield pid


def write_pattern(path: Path, mebibytes: int) -> None:
    """A file in which no two blocks of 4 KiB are equal, so that a shift or a gap shows."""
    block = bytes(range(256)) * 16
    with path.open("wb") as out:
        for first in range(0, mebibytes * 256, 256):
            out.write(b"".join((first + n).to_bytes(8, "big") + block[8:] for n in range(256)))
