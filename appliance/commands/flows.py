"""`levee flows`: the connections through the box, all or those that are asked for."""

import json
from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import cast

from appliance import client, exits, flows
from appliance.errors import OperatorError, WrongValue
from appliance.flows import FlowReport
from appliance.screen import duration

COLUMNS = "{:<24} {:<24} {:<12} {:<12} {:>14} {:>9}"


def execute(arguments: Namespace) -> int:
    """Prints a line for each connection, or JSON with one object a line."""
    asked = {name: value for name in flows.FILTERS if (value := getattr(arguments, name)) is not None}
    try:
        flows.query(asked)
    except WrongValue as error:
        raise OperatorError(error.wrong, f"{error.right} would be right") from error
    found = _ask(client.socket_path(arguments.socket), asked)
    if arguments.count:
        print(sum(1 for _ in found))
        return exits.DONE
    some = islice(found, arguments.limit)
    if arguments.json:
        for flow in some:
            print(json.dumps(flow))
    else:
        print(COLUMNS.format("client", "server", "state", "service", "age", "idle"))
        for flow in some:
            print(line(flow))
    if next(found, None) is not None and not arguments.json:
        print(f"and more than these {arguments.limit}: see --limit and --count")
    return exits.DONE


def _ask(path: Path, asked: dict[str, str]) -> Iterator[FlowReport]:
    """Page by page, until the end of the table."""
    cursor: object = 0
    while cursor is not None:
        reply = client.call(path, "org.levee.Flows", {**asked, "cursor": cursor})
        yield from cast(list[FlowReport], reply["flows"])
        cursor = reply.get("cursor")


def end(address: str, port: int) -> str:
    """An address with its port."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def line(flow: FlowReport) -> str:
    """One connection; idle in seconds."""
    vlans = "".join(f"@{vid}" for vid in flow["vlans"])
    return COLUMNS.format(
        end(flow["client"], flow["client_port"]),
        end(flow["server"], flow["server_port"]) + vlans,
        flow["state"],
        flow["service"] or "-",
        duration(flow["age_ms"] // 1000),
        f"{flow['idle_ms'] / 1000:.1f} s",
    )
