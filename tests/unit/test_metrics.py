"""The numbers for Prometheus: their format, what alerts and dashboard use of them, and the clients that fetch them."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from appliance import exporter, metrics
from appliance.commands import metrics as command
from appliance.errors import OperatorError
from cext.dataplane import DROP_REASONS, EVENTS

if TYPE_CHECKING:
    from appliance.report import ServiceReport, StatusReport

MONITORING = Path(__file__).resolve().parents[2] / "configs" / "monitoring"
SAMPLE = re.compile(
    r'(?P<name>[a-z_]+)(?:\{(?P<labels>(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (?P<value>[0-9.]+)\Z'
)


def service(number: int) -> ServiceReport:
    return {
        "protect": "always",
        "protected": True,
        "syn_received": number,
        "synack_sent": number,
        "cookie_valid": number,
        "cookie_invalid": number,
        "opened": number,
        "refused": number,
        "timed_out": number,
        "events": dict.fromkeys(EVENTS, number),
        "drops": {"fragment": number, "held": 0},
    }


def status() -> StatusReport:
    return {  # type: ignore[typeddict-item]  # what else Status says is not a number
        "version": "0.1.0",
        "mode": "routed",
        "engine": "nfqueue",
        "uptime_s": 60,
        "state": "ATTACK",
        "problems": [],
        "attacks": {"web": {"age_s": 10, "now_per_s": 5000, "peak_per_s": 9000}},
        "flows": {"used": 1, "capacity": 10},
        "half_open": {"used": 2, "capacity": 20},
        "sources": {"used": 4, "capacity": 40},
        "hold": {"bytes": 3, "capacity": 30},
        "services": {"web": service(7), "mail": service(0)},
        "drops": dict.fromkeys(DROP_REASONS, 4),
        "passed": 5,
        "translated": 6,
        "queues": [{"num": 0, "carries": "syns", "received": 9, "dropped_queue_full": 2, "dropped_user": None}],
    }


def samples(text: str) -> dict[str, float]:
    """Name and labels -> value; every line is of the format, each family is announced once, before its samples."""
    found: dict[str, float] = {}
    family = ""
    announced: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            family = line.split()[2]
            assert family not in announced
            announced.add(family)
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line)
            assert match, line
            assert match["name"] == family
            key = line.rpartition(" ")[0]
            assert key not in found, "a sample twice"
            found[key] = float(match["value"])
    return found


def test_the_page_says_what_status_says() -> None:
    found = samples(metrics.render(status()))
    assert found["levee_up"] == 1
    assert found['levee_info{version="0.1.0",mode="routed",engine="nfqueue"}'] == 1
    assert found['levee_state{state="ATTACK"}'] == 1
    assert found['levee_state{state="DEGRADED"}'] == 0
    assert found["levee_flows_capacity"] == 10
    assert found['levee_service_events_total{service="web",event="syn_received"}'] == 7
    assert found['levee_service_events_total{service="mail",event="syn_received"}'] == 0, "a rate needs its zero"
    assert found['levee_service_drops_total{service="web",reason="fragment"}'] == 7
    assert found['levee_attack{service="web"}'] == 1
    assert found['levee_attack{service="mail"}'] == 0
    assert found['levee_attack_unfinished_syns_per_second{service="web"}'] == 5000
    assert found['levee_queue_lost_total{queue="0",carries="syns"}'] == 2
    assert {f'levee_drops_total{{reason="{reason}"}}' for reason in DROP_REASONS} <= found.keys()


def test_the_names_of_the_kernels_synproxy_are_there() -> None:
    """/proc/net/stat/synproxy, net/netfilter/nf_synproxy_core.c"""
    text = metrics.render(status())
    for name in ("syn_received", "cookie_invalid", "cookie_valid", "cookie_retrans"):
        assert f'event="{name}"' in text


def test_no_label_is_an_address_or_a_client() -> None:
    labels = {label for key in samples(metrics.render(status())) for label in re.findall(r'([a-z]+)="', key)}
    assert labels == {"version", "mode", "engine", "state", "service", "event", "reason", "queue", "carries"}


def test_a_silent_daemon_is_a_number() -> None:
    assert samples(metrics.render(None)) == {"levee_up": 0}


def test_every_family_is_written() -> None:
    written = set(re.findall(r"^# TYPE (\S+)", metrics.render(status()), re.MULTILINE))
    assert written == set(metrics.FAMILIES)


def expressions() -> Iterator[str]:
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    yield from (rule["expr"] for group in alerts["groups"] for rule in group["rules"])
    board = json.loads((MONITORING / "grafana.json").read_text())
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])


def test_alerts_and_dashboard_use_what_there_is() -> None:
    used = list(expressions())
    assert len(used) > 20
    for expression in used:
        names = re.findall(r"\blevee_[a-z_]+\b", expression)
        assert names, expression
        assert set(names) <= set(metrics.FAMILIES), expression
        for kind, names_of_kind in (("event", EVENTS), ("reason", DROP_REASONS)):
            for value in re.findall(rf'{kind}="([^"$]+)"', expression):
                assert value in names_of_kind, expression
        for name in names:
            if metrics.FAMILIES[name][0] == "counter":
                assert f"rate({name}" in expression, f"the sum of a counter says nothing: {expression}"


def test_alerts_say_something_and_how_bad_it_is() -> None:
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


class Asked:
    """Counts how often the page was made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"page {self.count}\n"


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def port(asked: Asked) -> Iterator[int]:
    with exporter.Exporter("127.0.0.1", 0, asked) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as reply:
        assert reply.headers["Content-Type"] == exporter.CONTENT_TYPE
        return str(reply.read().decode())


def test_many_scrapes_ask_the_daemon_once(port: int, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "KEPT_S", 3600.0)
    assert {get(port) for _ in range(5)} == {"page 1\n"}
    monkeypatch.setattr(exporter, "KEPT_S", 0.0)
    assert get(port) == "page 2\n"
    assert asked.count == 2


def test_only_the_page_is_there(port: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(port, "/")
    assert caught.value.code == 404
    caught.value.close()


def test_a_client_that_says_nothing_holds_up_nobody(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert get(port).startswith("page")


def test_clients_are_limited(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(exporter.MAX_CLIENTS)]
    with socket.create_connection(("127.0.0.1", port)) as refused:
        refused.settimeout(30)
        with suppress(ConnectionResetError):
            assert refused.recv(1) == b""
    for one in silent:
        one.close()


@pytest.mark.parametrize("text", ["", "9475", "localhost:9475", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536"])
def test_a_place_that_is_none_is_said(text: str) -> None:
    with pytest.raises(OperatorError, match="is not an address and a port"):
        command._place(text)


def test_places() -> None:
    assert command._place("127.0.0.1:9475") == ("127.0.0.1", 9475)
    assert command._place("[::1]:9475") == ("::1", 9475)


def test_a_taken_port_is_said(port: int) -> None:
    with pytest.raises(OperatorError, match=f"127.0.0.1 port {port}: cannot listen: Address already in use"):
        exporter.Exporter("127.0.0.1", port, str)
