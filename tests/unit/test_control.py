"""The control socket: the Varlink wire format, and clients that are slow, silent, many or hostile."""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import backends, client, control, report, varlink
from appliance.control import MAX_CONNECTIONS, MAX_STILL_S, ControlServer
from appliance.errors import OperatorError
from appliance.varlink import END, MAX_MESSAGE_BYTES, BrokenMessageError, CallError, Parameters, Service

DESCRIPTION = "# A test.\ninterface org.test\n\nmethod Echo(text: string) -> (text: string)\n"
BIG_BYTES = 4 << 20


def echo(parameters: Parameters) -> Parameters:
    return {"text": parameters.get("text")}


def fail(parameters: Parameters) -> Parameters:
    raise CallError("org.test.Failed", {"why": parameters.get("why")})


def big(_parameters: Parameters) -> Parameters:
    return {"text": "x" * BIG_BYTES}


SERVICE = Service(version="1.2.3", description=DESCRIPTION, methods={"Echo": echo, "Fail": fail, "Big": big})


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Host:
    """A server, its loop one turn at a time, and its clients."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.selector = selectors.DefaultSelector()
        self.server = ControlServer(path, SERVICE, self.selector, self.clock)
        self.clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.connect(os.fspath(self.path))
        one.setblocking(False)
        self.clients.append(one)
        self.turns()
        return one

    def turns(self, most: int = 1000) -> int:
        """Turns the loop until nothing happens; returns how often it turned."""
        for count in range(most):
            ready = self.selector.select(0)
            if not ready:
                return count
            for key, events in ready:
                key.data(events)
        return most

    def ask(self, one: socket.socket, *messages: bytes) -> list[dict[str, object]]:
        """Sends the messages at once; the replies that came of them."""
        one.setblocking(True)
        one.sendall(b"".join(messages))
        one.setblocking(False)
        received = bytearray()
        while True:
            self.turns()
            try:
                part = one.recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                break
            if not part:
                break
            received += part
        return [json.loads(reply) for reply in received.split(END) if reply]

    def close(self) -> None:
        for one in self.clients:
            one.close()
        self.server.close()
        self.selector.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    server = Host(tmp_path / "control.sock")
    yield server
    server.close()


def call(method: str, **parameters: object) -> bytes:
    return varlink.encode({"method": method, "parameters": parameters})


def test_a_call_gets_its_reply(host: Host) -> None:
    assert host.ask(host.client(), call("org.test.Echo", text="ä→")) == [{"parameters": {"text": "ä→"}}]


def test_calls_on_one_connection_are_answered_in_order(host: Host) -> None:
    messages = [call("org.test.Echo", text=str(number)) for number in range(50)]
    replies = host.ask(host.client(), *messages)
    assert replies == [{"parameters": {"text": str(number)}} for number in range(50)]


def test_a_call_may_come_byte_by_byte(host: Host) -> None:
    one = host.client()
    message = call("org.test.Echo", text="slow")
    for index in range(len(message) - 1):
        assert host.ask(one, message[index : index + 1]) == []
    assert host.ask(one, END) == [{"parameters": {"text": "slow"}}]


def test_get_info(host: Host) -> None:
    (reply,) = host.ask(host.client(), call("org.varlink.service.GetInfo"))
    assert reply["parameters"] == {
        "vendor": "Levee",
        "product": "levee",
        "version": "1.2.3",
        "url": "",
        "interfaces": ["org.varlink.service", "org.test"],
    }


@pytest.mark.parametrize("interface", ["org.test", "org.varlink.service"])
def test_get_interface_description(host: Host, interface: str) -> None:
    (reply,) = host.ask(host.client(), call("org.varlink.service.GetInterfaceDescription", interface=interface))
    parameters = reply["parameters"]
    assert isinstance(parameters, dict)
    assert f"interface {interface}\n" in parameters["description"]


@pytest.mark.parametrize(
    ("message", "name", "parameters"),
    [
        (call("org.test.Fail", why="test"), "org.test.Failed", {"why": "test"}),
        (call("org.test.Missing"), "org.varlink.service.MethodNotFound", {"method": "org.test.Missing"}),
        (call("org.other.Echo"), "org.varlink.service.InterfaceNotFound", {"interface": "org.other"}),
        (call("Echo"), "org.varlink.service.InterfaceNotFound", {"interface": ""}),
        (
            call("org.varlink.service.GetInterfaceDescription"),
            "org.varlink.service.InvalidParameter",
            {"parameter": "interface"},
        ),
        (
            call("org.varlink.service.GetInterfaceDescription", interface="org.other"),
            "org.varlink.service.InterfaceNotFound",
            {"interface": "org.other"},
        ),
        (
            varlink.encode({"method": "org.test.Echo", "parameters": [1]}),
            "org.varlink.service.InvalidParameter",
            {"parameter": "parameters"},
        ),
    ],
)
def test_errors_have_names(host: Host, message: bytes, name: str, parameters: dict[str, object]) -> None:
    one = host.client()
    assert host.ask(one, message) == [{"error": name, "parameters": parameters}]
    assert host.ask(one, call("org.test.Echo", text="still here")) == [{"parameters": {"text": "still here"}}]


def test_oneway_has_no_reply(host: Host) -> None:
    message = varlink.encode({"method": "org.test.Echo", "parameters": {"text": "x"}, "oneway": True})
    assert host.ask(host.client(), message, call("org.test.Echo", text="y")) == [{"parameters": {"text": "y"}}]


def ended(one: socket.socket) -> bool:
    """Whether the server has closed the connection."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"hello\0",
        b"[]\0",
        b'"text"\0',
        b"{}\0",
        b'{"method": 1}\0',
        b"\xff\xfe\0",
        b"[" * 30000 + b"\0",
        b"x" * (MAX_MESSAGE_BYTES + 1 + (16 << 10)),
    ],
    ids=["empty", "text", "list", "string", "no-method", "number", "not-utf-8", "deep", "endless"],
)
def test_what_is_no_call_ends_its_connection_and_no_other(host: Host, data: bytes) -> None:
    other, one = host.client(), host.client()
    host.ask(one, data)
    assert ended(one)
    assert host.ask(other, call("org.test.Echo", text="fine")) == [{"parameters": {"text": "fine"}}]


def test_who_does_not_read_is_not_listened_to_and_holds_up_nobody(host: Host) -> None:
    slow, quick = host.client(), host.client()
    message = call("org.test.Big")
    slow.setblocking(True)
    slow.sendall(message * 20)
    assert host.turns() < 1000, "the loop spins on a client that does not read"
    assert host.ask(quick, call("org.test.Echo", text="quick")) == [{"parameters": {"text": "quick"}}]
    received = 0
    slow.setblocking(False)
    while received < 20 * BIG_BYTES:
        host.turns()
        received += len(slow.recv(1 << 20))
    assert host.ask(slow, call("org.test.Echo", text="back"))[-1] == {"parameters": {"text": "back"}}


def test_clients_take_turns(host: Host) -> None:
    """A client with many calls in one packet does not keep another waiting for all of them."""
    greedy, modest = host.client(), host.client()
    greedy.setblocking(True)
    greedy.sendall(call("org.test.Echo", text="g") * 200)
    modest.setblocking(True)
    modest.sendall(call("org.test.Echo", text="m"))
    modest.setblocking(False)
    host.turns(2)
    assert END in modest.recv(1000)


def test_connections_are_limited(host: Host) -> None:
    clients = [host.client() for _ in range(MAX_CONNECTIONS)]
    assert ended(host.client())
    assert host.ask(clients[0], call("org.test.Echo", text="x")) == [{"parameters": {"text": "x"}}]
    clients[1].close()
    host.turns()
    assert not ended(host.client())


def test_connections_that_stand_still_are_ended(host: Host) -> None:
    still = host.client()
    host.clock.now_s += MAX_STILL_S - 1
    moving = host.client()
    host.clock.now_s += 2
    host.server.sweep()
    assert ended(still)
    assert not ended(moving)


def test_a_client_that_vanishes_is_forgotten(host: Host) -> None:
    one = host.client()
    one.setblocking(True)
    one.sendall(call("org.test.Big"))
    one.close()
    host.turns()
    assert len(host.selector.get_map()) == 1


def test_socket_may_be_used_by_owner_and_group_only(host: Host) -> None:
    mode = host.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_socket_left_behind_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(os.fspath(path))
    server = Host(path)
    assert not ended(server.client())
    server.close()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_missing_is_an_operator_error(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector, pytest.raises(OperatorError, match="no control socket"):
        ControlServer(tmp_path / "missing" / "control.sock", SERVICE, selector, Clock())


@given(st.binary())
def test_decode_gives_an_object_or_says_no(data: bytes) -> None:
    with suppress(BrokenMessageError):
        assert isinstance(varlink.decode(data), dict)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_messages_survive_the_wire(message: dict[str, object]) -> None:
    data = varlink.encode(message)
    assert data.count(END) == 1
    assert data.endswith(END)
    assert varlink.decode(data[:-1]) == message


def fields_of(block: str) -> set[str]:
    return set(re.findall(r"^\s*(\w+): ", block, re.MULTILINE)) | set(re.findall(r"[(,] ?(\w+): ", block))


def test_interface_file_describes_what_status_replies() -> None:
    text = resources.files("appliance").joinpath("org.levee.varlink").read_text(encoding="utf-8")
    types = dict(re.findall(r"^type (\w+) (\(.*?\))$", text, re.MULTILINE | re.DOTALL))
    method = re.split(r"\n\n", text[text.index("method Status()") :])[0]
    assert fields_of(method) == set(get_type_hints(report.StatusReport, {"Config": None}))
    assert fields_of(types["Usage"]) == set(get_type_hints(report.UsageReport))
    assert fields_of(types["Hold"]) == set(get_type_hints(report.HoldReport))
    assert fields_of(types["Service"]) == set(get_type_hints(report.ServiceReport))
    assert fields_of(types["Attack"]) == set(get_type_hints(report.AttackReport))
    assert fields_of(types["Queue"]) == set(get_type_hints(report.QueueReport))
    assert fields_of(types["Backend"]) == set(get_type_hints(backends.BackendReport))
    assert f"state: ({', '.join(get_args(report.State))})" in text


def test_client_without_a_daemon(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no levee is running here"):
        client.call(tmp_path / "control.sock", "org.levee.Status")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(os.fspath(tmp_path / "control.sock"))
    with pytest.raises(OperatorError, match="no levee is running here"):
        client.call(tmp_path / "control.sock", "org.levee.Status")


def test_client_finds_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEVEE_SOCKET", raising=False)
    assert client.socket_path(None) == Path("/run/levee/control.sock")
    monkeypatch.setenv("LEVEE_SOCKET", "/tmp/other.sock")  # noqa: S108 - only a name
    assert client.socket_path(None) == Path("/tmp/other.sock")  # noqa: S108
    assert client.socket_path(Path("/third")) == Path("/third")


def test_limits_are_what_the_readme_says() -> None:
    assert (control.MAX_CONNECTIONS, varlink.MAX_MESSAGE_BYTES, control.SOCKET_MODE) == (64, 65536, 0o660)
