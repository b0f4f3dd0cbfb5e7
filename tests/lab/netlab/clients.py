"""Real clients in the client's namespace: curl, wrk, iperf3, ssh-keyscan-like banner reading.

Each function runs one to its end and returns what it measured. Called by tests and the demo.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netlab import netns
from netlab.names import Names
from netlab.process import in_namespace, run


def url(address: str, path: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}/{path}"


def curl(names: Names, address: str, path: str = "small", *, limit_s: float = 10.0) -> subprocess.CompletedProcess[str]:
    """One request; exit code and body as curl gives them."""
    argv = ["curl", "-sS", "--max-time", str(limit_s), url(address, path)]
    return run(argv, namespace=names.client, check=False, timeout_s=limit_s + 10)


def curl_seconds(names: Names, address: str, port: int) -> float:
    """Wall-clock time of one whole curl, from its start to its exit, that must fail to connect."""
    host = f"[{address}]" if ":" in address else address
    start = time.perf_counter()
    done = run(["curl", "-sS", "--max-time", "10", f"http://{host}:{port}/"], namespace=names.client, check=False)
    spent = time.perf_counter() - start
    # 7: could not connect (refused), 56: receive failure (reset), 52/55: closed before an answer.
    assert done.returncode in (7, 52, 55, 56), f"curl: exit {done.returncode}: {done.stderr}"
    return spent


def download_equals(
    names: Names, address: str, path: str, original: Path, limit_s: float, *, rate: str | None = None
) -> None:
    """Download, at curl's `rate`, and compare byte for byte while it comes in; AssertionError on any difference."""
    slowly = ["--limit-rate", rate] if rate else []
    get = in_namespace(names.client, ["curl", "-sS", "--max-time", str(limit_s), *slowly, url(address, path)])
    with subprocess.Popen(get, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        compared = subprocess.run(
            ["cmp", "-", str(original)], stdin=client.stdout, capture_output=True, text=True, check=False
        )
        assert client.stderr is not None
        said = client.stderr.read().decode()
        code = client.wait()
    assert code == 0, f"curl: exit {code}: {said}"
    assert compared.returncode == 0, compared.stdout + compared.stderr


def wrk(names: Names, address: str, *, connections: int, seconds: int, close: bool) -> dict[str, int]:
    """Load with wrk; requests and errors. close: a new connection for each request."""
    headers = ["-H", "Connection: close"] if close else []
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *headers, url(address, "small")]
    said = run(argv, namespace=names.client, timeout_s=seconds + 60).stdout
    requests = re.search(r"(\d+) requests in", said)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    assert requests is not None, said
    return {
        "requests": int(requests[1]),
        "errors": sum(map(int, errors.groups())) if errors else 0,
        "bad_statuses": int(statuses[1]) if statuses else 0,
    }


def iperf3(names: Names, address: str, *, seconds: int, reverse: bool) -> dict[str, Any]:
    """One stream; bits per second at the receiver and retransmissions of the sender."""
    argv = ["iperf3", "-J", "-c", address, "-t", str(seconds), *(["-R"] if reverse else [])]
    done = run(argv, namespace=names.client, check=False, timeout_s=seconds + 60)
    result = json.loads(done.stdout)
    assert "error" not in result, result["error"]
    ends = result["end"]
    return {
        "bits_per_s": ends["sum_received"]["bits_per_second"],
        "retransmits": ends["sum_sent"].get("retransmits", 0),
    }


@dataclass(frozen=True)
class Request:
    """One request of a steady client: when it ended, how long it took, and what went wrong ("" is nothing)."""

    at_s: float
    seconds: float
    failure: str


@dataclass
class SteadyClients:
    """Real clients that request /small one after the other, each time with a new curl and connection.

    They run while the block is executed, one for each entry of `addresses`.
    """

    names: Names
    addresses: list[str]
    limit_s: float = 10.0
    pause_s: float = 0.01
    requests: list[Request] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> SteadyClients:
        for address in self.addresses:
            thread = threading.Thread(target=self._run, args=(address,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def failures(self) -> list[str]:
        return [request.failure for request in self.requests if request.failure]

    def _run(self, address: str) -> None:
        # The thread stays in the namespace and its children start there: cheaper than `ip netns exec`.
        with netns.entered(self.names.client):
            while not self._ended.is_set():
                self.requests.append(self._request(address))
                self._ended.wait(self.pause_s)

    def _request(self, address: str) -> Request:
        argv = ["curl", "-sS", "--max-time", str(self.limit_s), "-w", "%{time_total}", url(address, "small")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        body, _, seconds = done.stdout.rpartition("\n")
        right = done.returncode == 0 and body == "levee lab"
        failure = "" if right else f"{address}: exit {done.returncode}: {done.stderr.strip()} {done.stdout!r}"
        return Request(time.monotonic(), float(seconds or 0), failure)
