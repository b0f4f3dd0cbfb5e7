"""Answers scrapes over HTTP: one page, for a few clients at once, none of which can hold up another for long.

Owns the socket. Called by commands/metrics.py, in a process of its own: what a scraper does cannot reach the daemon,
which is asked at most once in KEPT_S. Must not know what is in the page. It speaks plain HTTP without passwords: it
belongs on the management address.

LIMIT: clients that send a byte every few seconds can take all MAX_CLIENTS places.
"""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from appliance.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CLIENTS = 8
STILL_S = 5.0  # a client that is silent for longer is let go
KEPT_S = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Page:
    """The page, made anew when it is older than KEPT_S; one thread makes it, the others wait for that."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made_s = float("-inf")
        self._text = b""

    def text(self) -> bytes:
        """As it is now, or was a moment ago."""
        with self._lock:
            if time.monotonic() - self._made_s >= KEPT_S:
                self._text = self._make().encode()
                self._made_s = time.monotonic()
            return self._text


class _Handler(BaseHTTPRequestHandler):
    timeout = STILL_S
    server: Exporter
    server_version = "levee"
    sys_version = ""

    def do_GET(self) -> None:
        """The page at /metrics, nothing elsewhere."""
        if self.path != "/metrics":
            self.send_error(404, explain="the page is /metrics")
            return
        body = self.server.page.text()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Scrapes are not worth a line each."""


class Exporter(ThreadingHTTPServer):
    """Listens on an address and port from construction on. Raises OperatorError."""

    daemon_threads = True
    request_queue_size = MAX_CLIENTS

    def __init__(self, address: str, port: int, make: Callable[[], str]) -> None:
        self.page = _Page(make)
        self._places = threading.BoundedSemaphore(MAX_CLIENTS)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), _Handler)
        except OSError as error:
            hint = "name an address of this machine and a free port"
            raise OperatorError(f"{address} port {port}: cannot listen: {error.strerror}", hint) from error

    def server_bind(self) -> None:
        """Without the base class's question to the name service."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: object, client_address: object) -> None:
        """A thread for a client, if there is a place for it."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """In the client's thread."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of ours."""
