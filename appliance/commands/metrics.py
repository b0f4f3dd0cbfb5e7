"""`levee metrics`: the numbers of a running daemon for Prometheus, once on stdout or for every scrape."""

from argparse import Namespace
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from appliance import client, exits, metrics
from appliance.errors import OperatorError
from appliance.exporter import Exporter
from appliance.report import StatusReport


def execute(arguments: Namespace) -> int:
    """Prints the page, or serves it until it is interrupted."""
    path = client.socket_path(arguments.socket)
    if arguments.listen is None:
        print(metrics.render(_status(path)), end="")
        return exits.DONE
    with Exporter(*_place(arguments.listen), lambda: _page(path)) as exporter:
        exporter.serve_forever()
    return exits.DONE


def _status(path: Path) -> StatusReport:
    return cast(StatusReport, client.call(path, "org.levee.Status"))


def _page(path: Path) -> str:
    """A daemon that does not answer is a number too."""
    try:
        return metrics.render(_status(path))
    except OperatorError:
        return metrics.render(None)


def _place(text: str) -> tuple[str, int]:
    """`192.0.2.1:9475` or `[2001:db8::1]:9475`. Raises OperatorError."""
    address, _, port = text.rpartition(":")
    try:
        place = str(ip_address(address.removeprefix("[").removesuffix("]")))
    except ValueError:
        place = ""
    if not place or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise OperatorError(f"{text} is not an address and a port", "for example 127.0.0.1:9475 or [::1]:9475")
    return place, int(port)
