"""The command line: what it prints, where, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from appliance import cli, exits, preflight, screen
from appliance.commands import check as check_command
from appliance.config import loads
from appliance.errors import OperatorError
from appliance.report import AttackReport, ServiceReport, State, StatusReport, service_report, status_report
from appliance.varlink import END, encode
from appliance.version import version

if TYPE_CHECKING:
    from cext.dataplane import Counters

LEVEE = Path(sys.executable).with_name("levee")
GOOD = """\
version: 1
mode: routed
outside: eth0
inside: eth1
services:
  web: {addresses: [192.0.2.1], ports: [80]}
"""
EVENTS = ("syn_received", "synack_sent", "cookie_valid", "cookie_invalid", "opened", "refused", "timed_out")


def levee(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed command as an operator does."""
    return subprocess.run(
        [LEVEE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def service(number: int, protect: str = "always") -> ServiceReport:
    return service_report(
        protect,
        {"events": {event: number + index for index, event in enumerate(EVENTS)}, "drops": {"cookie_invalid": number}},
    )


def status(services: dict[str, ServiceReport], **changes: object) -> StatusReport:
    report: StatusReport = {
        "version": "0.1.0",
        "mode": "routed",
        "engine": "nfqueue",
        "engine_reason": "nfqueue, the only engine of this version",
        "steering": "nft mark + iptables NFQUEUE (this kernel has no nft queue expression)",
        "uptime_s": 273906,
        "state": "PROTECTING",
        "links": {"outside": {"name": "eth1", "up": True}, "inside": {"name": "eth2", "up": True}},
        "configuration": {"number": 7, "edited": False, "restarting": False, "pending": None},
        "problems": [],
        "attacks": {},
        "flows": {"used": 131072, "capacity": 262144},
        "half_open": {"used": 0, "capacity": 65536},
        "sources": {"used": 0, "capacity": 65536},
        "hold": {"bytes": 2896, "capacity": 67108864},
        "services": services,
        "drops": {"syn_answered": 12345678, "cookie_invalid": 99999, "fragment": 0},
        "passed": 12,
        "translated": 9_876_543_210,
        "queues": [
            {"num": 0, "carries": "connections", "received": 1000, "dropped_queue_full": 3, "dropped_user": None},
            {"num": 1, "carries": "connections", "received": 500, "dropped_queue_full": None, "dropped_user": 4},
        ],
    }
    report.update(changes)  # type: ignore[typeddict-item]
    return report


SCREEN = """\
levee 0.1.0  PROTECTING  mode routed  engine nfqueue  up 3 d 04:05:06
engine    nfqueue, the only engine of this version
steering  nft mark + iptables NFQUEUE (this kernel has no nft queue expression)
flows     131.1k of 262.1k (50 %)
half-open 0 of 65536 (0 %)
held      2896 of 67.11M (0 %) bytes of early data

service               SYNs SYN-ACKs    valid  invalid   opened  refused   silent
web               20000000 20000001 20000002 20000003 20000004 20000005 20000006
mail (off)               5        6        7        8        9       10       11

consumed  syn_answered 12.35M  cookie_invalid 99999
passed    12 untouched, 9.877G translated
queues    2, received 1500, lost 3 when full, 4 on the way
"""


def test_screen() -> None:
    text = screen.render(status({"web": service(20_000_000), "mail": service(5, "off")}))
    assert text == SCREEN.replace(
        "20000000 20000001 20000002 20000003 20000004 20000005 20000006", "  20.00M" + "   20.00M" * 6
    )


def test_screen_fits_whatever_the_numbers_are() -> None:
    services = {f"{'a' * 29}{number:03}": service(10**18, "off") for number in range(100)}
    text = screen.render(
        status(
            services,
            drops={f"reason_number_{number}": 10**18 for number in range(60)},
            problems=["a long story about something that is not as it should be, " * 9, "short"],
            flows={"used": 0, "capacity": 0},
            uptime_s=10**10,
        )
    )
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert len(lines) <= 30
    assert "and 90 more: levee status --json" in lines


def test_screen_shows_the_busiest_services_in_the_order_of_the_file() -> None:
    services = {f"s{number}": service(number * 7 % 20) for number in range(20)}
    shown = [line.split()[0] for line in screen.render(status(services)).splitlines() if line.startswith("s")]
    assert shown[:2] == ["steering", "service"]
    assert shown[2:] == [name for name, one in services.items() if one["syn_received"] >= 10]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (99_999, "99999"), (100_000, "100.0k"), (1_234_567, "1.235M"), (98_765_432_100, "98.77G")],
)
def test_number(value: int, text: str) -> None:
    assert screen.number(value) == text


@pytest.mark.parametrize("exponent", range(19))
def test_numbers_are_at_most_seven_characters(exponent: int) -> None:
    for value in (10**exponent - 1, 10**exponent, 9 * 10**exponent + 1):
        assert len(screen.number(value)) <= 7


def test_check_says_what_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "levee.yaml"
    path.write_text(GOOD)
    done = levee("check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: valid: mode routed, 1 service\n")
    assert "memory at most" in done.stdout.splitlines()[-1]


def test_check_says_everything_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "levee.yaml"
    path.write_text(GOOD.replace("[80]", "[0]").replace("eth1", "eth0"))
    done = levee("check", path)
    assert (done.returncode, done.stdout) == (exits.ERROR, "")
    assert done.stderr.splitlines() == [
        f"{path}:4:9: inside: eth0 is the outside interface too, the other interface would be right",
        (
            f"{path}:6:41: services.web.ports[0]: 0 is not a port, a port from 1 to 65535, or a range like 8000-8100 "
            "would be right"
        ),
    ]


def test_check_without_a_file(tmp_path: Path) -> None:
    done = levee("check", tmp_path / "missing.yaml")
    assert done.returncode == exits.ERROR
    assert done.stderr.splitlines() == [
        f"levee: error: {tmp_path}/missing.yaml: cannot be read: No such file or directory",
        "levee: hint: name the file to read, for example: levee check levee.yaml",
    ]


def test_run_refuses_a_wrong_configuration_before_it_touches_anything(tmp_path: Path) -> None:
    path = tmp_path / "levee.yaml"
    path.write_text(GOOD.replace("mode: routed", "mode: router") + f"runtime_dir: {tmp_path}/run\n")
    done = levee("run", "-c", path)
    assert done.returncode == exits.ERROR
    assert done.stderr == f"{path}:2:7: mode: router is not one of the choices, bridge, routed or host would be right\n"
    assert not (tmp_path / "run").exists()


def test_run_names_the_interfaces_there_are(tmp_path: Path) -> None:
    path = tmp_path / "levee.yaml"
    text = GOOD.replace("eth0", "levee-missing-0").replace("eth1", "levee-missing-1")
    path.write_text(f"{text}runtime_dir: {tmp_path}/run\nstate_dir: {tmp_path}/state\n")
    with pytest.raises(OperatorError) as caught:
        preflight.check_interfaces(loads(path.read_bytes(), "levee.yaml"))
    assert caught.value.message == "no such interface: outside: levee-missing-0, inside: levee-missing-1"
    assert caught.value.hint.startswith("there are: ")
    assert " lo" in f"{caught.value.hint},".replace(",", " ")


def test_version() -> None:
    done = levee("version")
    assert (done.returncode, done.stdout) == (0, f"levee {version()}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["check", "a", "b"],
        ["run", "--unknown"],
        ["status", "--interval", "0"],
        ["status", "--interval", "often"],
        ["status", "--watch", "--json"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    done = levee(*arguments)
    assert done.returncode == exits.ERROR, "neither attack nor degraded"
    assert "usage: levee" in done.stderr


def test_help_names_every_command() -> None:
    done = levee("--help")
    commands = {path.stem.rstrip("_") for path in Path(check_command.__file__).parent.glob("[a-z]*.py")}
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")} >= commands


@contextmanager
def answering(path: Path, *replies: StatusReport) -> Iterator[Path]:
    """A socket on which each caller is told the next status; it is gone after the last one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(path))
        listener.listen(1)
        listener.settimeout(60)

        def serve() -> None:
            for reply in replies:
                peer, _ = listener.accept()
                with peer:
                    while not peer.recv(1 << 16).endswith(END):
                        continue
                    peer.sendall(encode({"parameters": reply}))
            path.unlink()
            listener.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """A socket on which one caller is told a status."""
    with answering(tmp_path / "control.sock", status({"web": service(1)})) as path:
        yield path


def test_status_as_text(daemon: Path) -> None:
    done = levee("status", "--socket", daemon)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == screen.render(status({"web": service(1)}))


def test_status_as_json_by_the_environment(daemon: Path) -> None:
    done = levee("status", "--json", LEVEE_SOCKET=str(daemon))
    assert json.loads(done.stdout) == status({"web": service(1)})


ATTACK: dict[str, AttackReport] = {"web": {"age_s": 75, "now_per_s": 1_234_567, "peak_per_s": 2_000_000}}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": "PROTECTING"}, 0),
        ({"state": "ATTACK", "attacks": ATTACK}, 1),
        ({"state": "DEGRADED", "problems": ["p"], "attacks": ATTACK}, 2),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_status_exits_with_the_state(tmp_path: Path, changes: dict[str, object], code: int, form: tuple[str]) -> None:
    with answering(tmp_path / "control.sock", status({"web": service(1)}, **changes)) as path:
        assert levee("status", *form, "--socket", path).returncode == code


def test_every_state_has_an_exit_code() -> None:
    assert {exits.of_state(state) for state in get_args(State)} == {exits.DONE, exits.ATTACK, exits.DEGRADED}


def test_screen_says_what_goes_on() -> None:
    lines = screen.render(status({"web": service(1)}, state="ATTACK", attacks=ATTACK)).splitlines()
    assert lines[1] == "attack    web for 00:01:15: 1.235M unfinished SYNs a second, at most 2.000M"
    many = {f"s{number}": {"age_s": 1, "now_per_s": number, "peak_per_s": number} for number in range(10)}
    lines = screen.render(status({"web": service(1)}, state="ATTACK", attacks=many)).splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["s9", "s8", "s7", "7"]


def test_rates_are_what_was_counted_a_second() -> None:
    before = status({"web": service(100)}, passed=10)
    after = status({"web": service(300), "new": service(40)}, passed=30, drops={"syn_answered": 12345688})
    found = screen.rates(after, before, 2.0)
    assert found["services"]["web"]["events"]["syn_received"] == 100
    assert found["services"]["new"]["events"]["syn_received"] == 20
    assert (found["passed"], found["translated"], found["drops"]) == (10, 0, {"syn_answered": 5})
    assert after["services"]["web"]["events"]["syn_received"] == 300, "what came in is as it was"


def test_rates_after_a_restart_are_not_negative() -> None:
    found = screen.rates(status({"web": service(10)}), status({"web": service(1000)}), 1.0)
    assert found["services"]["web"]["events"]["syn_received"] == 10


def test_watch_shows_rates_from_the_second_screen_on(tmp_path: Path) -> None:
    """Until it is interrupted, with the exit code of what was seen last; a daemon that is gone meanwhile is said."""
    replies = (status({"web": service(1)}), status({"web": service(1)}, state="ATTACK", attacks=ATTACK))
    with answering(tmp_path / "control.sock", *replies) as path:
        arguments = [str(LEVEE), "status", "--watch", "--interval", "0.1", "--socket", str(path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            seen = [process.stdout.readline()]
            while "no levee is running here" not in seen[-1]:
                seen.append(process.stdout.readline())
                assert seen[-1], "ended"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == exits.ERROR
    text = "".join(seen)
    assert text.index("\nservice ") < text.index("ATTACK") < text.index("\na second ")


def test_status_without_a_daemon(tmp_path: Path) -> None:
    done = levee("status", "--socket", tmp_path / "none.sock")
    assert (done.returncode, done.stdout) == (exits.ERROR, "")
    assert done.stderr.splitlines() == [
        f"levee: error: {tmp_path}/none.sock: no levee is running here",
        "levee: hint: start it with: levee run; or name its socket with --socket or LEVEE_SOCKET",
    ]


def test_a_reader_that_goes_away_is_no_traceback(daemon: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [LEVEE, "status", "--socket", daemon], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (exits.ERROR, "")


def test_errors_are_explained_with_their_hint() -> None:
    assert cli.explain(OperatorError("it broke", "mend it")) == "levee: error: it broke\nlevee: hint: mend it"
    assert cli.explain(OperatorError("it broke")) == "levee: error: it broke"


def test_a_status_asked_for_in_the_middle_of_a_change_leaves_the_new_service_out() -> None:
    """The configuration is replaced in one thread, the reply is made in another."""
    config = loads(GOOD.encode(), "levee.yaml")
    nothing: Counters = {"events": dict.fromkeys((*EVENTS, "passed", "translated"), 0), "drops": {}}
    found = status_report(
        config,
        version="0.1.0",
        engine="nfqueue",
        engine_reason="",
        steering="",
        uptime_s=1,
        bypass=False,
        links={},
        configuration={"number": 1, "edited": False, "restarting": False, "pending": None},
        problems=[],
        attacks={},
        now_s=0.0,
        guards={},
        counters={"services": {"gone": nothing}, "total": nothing},
        occupancy={
            "flows_used": 0,
            "flows_capacity": 1,
            "half_open_used": 0,
            "half_open_capacity": 1,
            "sources_used": 0,
            "sources_capacity": 1,
            "hold_bytes_used": 0,
            "hold_bytes_capacity": 1,
        },
        queues=[],
    )
    assert found["services"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["block"], "ACTION"),
        (["block", "add"], "PREFIX"),
        (["block", "add", "192.0.2.1", "--for", "10"], "10 is not a time, a number and s, m, h or d"),
        (["block", "add", "192.0.2.1", "--for", "0s"], "0s is out of bounds, 1s to 3650d"),
    ],
)
def test_block_says_what_is_wrong(arguments: list[str], said: str) -> None:
    done = levee(*arguments)
    assert done.returncode == exits.ERROR
    assert said in done.stderr
    assert "Traceback" not in done.stderr
