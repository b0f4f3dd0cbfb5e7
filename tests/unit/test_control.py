"""The control socket: the Varlink wire format, and clients that are slow, silent, many or hostile."""

from __future__ import annotations

import json
import os
import pwd
import re
import selectors
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import ClassVar, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import backends, client, control, flows, report, varlink
from appliance.control import FOR_CHANGERS, MAX_CONNECTIONS, MAX_STILL_S, ControlServer
from appliance.errors import ConfigError, OperatorError, Problem
from appliance.events import EventReport
from appliance.jobs import Jobs
from appliance.roles import Access, Caller, Role
from appliance.varlink import END, MAX_CALL_BYTES, BrokenMessageError, Call, CallError, Method, Parameters, Service

DESCRIPTION = "# A test.\ninterface org.test\n\nmethod Echo(text: string) -> (text: string)\n"
BIG_BYTES = 4 << 20


NOBODY = 65534  # a group that no test process is in


def echo(call: Call) -> Parameters:
    return {"text": call.parameters.get("text")}


def fail(call: Call) -> Parameters:
    raise CallError("org.test.Failed", {"why": call.text("why")})


def big(_call: Call) -> Parameters:
    return {"text": "x" * BIG_BYTES}


def refuse(call: Call) -> Parameters:
    if call.flag("config"):
        raise ConfigError("levee.yaml", [Problem(3, 7, "mode", "is wrong", "this would be right")])
    raise OperatorError("it cannot be done", "do something else")


def who(call: Call) -> Parameters:
    return {"pid": call.caller.pid, "uid": call.caller.uid, "user": call.caller.user, "role": call.caller.role.name}


class Gate:
    """A slow method: it stands until the test lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, call: Call) -> Parameters:
        self.entered.set()
        assert self.open.wait(60)
        return {"text": call.text("text")}


def service(gate: Gate | None = None) -> Service:
    methods = {
        "Echo": Method(echo),
        "Fail": Method(fail),
        "Big": Method(big),
        "Refuse": Method(refuse),
        "Who": Method(who),
        "Change": Method(echo, Role.CHANGER),
        "Slow": Method(gate or Gate(), slow=True),
    }
    return Service(version="1.2.3", description=DESCRIPTION, methods=methods)


class Doorman(Access):
    """Takes the test's own process for what it is told to be."""

    said: ClassVar[Role | None] = Role.CHANGER

    def role(self, uid: int, groups: set[int]) -> Role | None:  # noqa: ARG002
        return self.said


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
        self.gate = Gate()
        self.selector = selectors.DefaultSelector()
        self.jobs = Jobs(self.selector)
        access = Doorman(readers=os.getegid())
        self.server = ControlServer(path, service(self.gate), access, self.jobs, self.selector, self.clock)
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

    def send(self, one: socket.socket, data: bytes) -> None:
        """More than a socket holds at once; ends early when the server ends the connection."""
        left = memoryview(data)
        while left:
            try:
                left = left[one.send(left) :]
            except BlockingIOError:
                self.turns()
            except ConnectionError:
                break
        self.turns()

    def close(self) -> None:
        for one in self.clients:
            one.close()
        self.gate.open.set()
        self.server.close()
        self.jobs.close()
        self.selector.close()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(Doorman, "said", Role.CHANGER)
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
    ],
    ids=["empty", "text", "list", "string", "no-method", "number", "not-utf-8", "deep"],
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


@pytest.mark.parametrize("role", Role)
def test_a_call_has_an_end(host: Host, role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doorman, "said", role)
    most = MAX_CALL_BYTES[role]
    one, other = host.client(), host.client()
    host.send(one, call("org.test.Who", padding="x" * (most - 100)))
    assert END in one.recv(1 << 16)
    host.send(one, b"x" * (most + (1 << 20)))
    assert ended(one)
    assert host.ask(other, call("org.test.Echo", text="fine")) == [{"parameters": {"text": "fine"}}]


def test_a_reader_asks_and_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doorman, "said", Role.READER)
    replies = host.ask(host.client(), call("org.test.Echo", text="x"), call("org.test.Change", text="x"))
    assert replies == [
        {"parameters": {"text": "x"}},
        {"error": "org.test.PermissionDenied", "parameters": {"method": "org.test.Change"}},
    ]


def test_a_changer_asks_and_changes(host: Host) -> None:
    replies = host.ask(host.client(), call("org.test.Echo", text="x"), call("org.test.Change", text="y"))
    assert replies == [{"parameters": {"text": "x"}}, {"parameters": {"text": "y"}}]


def test_a_stranger_is_shown_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doorman, "said", None)
    assert ended(host.client())


def test_the_caller_is_who_the_kernel_says(host: Host) -> None:
    (reply,) = host.ask(host.client(), call("org.test.Who"))
    user = pwd.getpwuid(os.getuid()).pw_name
    assert reply["parameters"] == {"pid": os.getpid(), "uid": os.getuid(), "user": user, "role": "CHANGER"}


def test_roles_by_user_and_group() -> None:
    access = Access(readers=101, changers=102)
    stranger = os.geteuid() + 1
    assert access.role(0, set()) is Role.CHANGER
    assert access.role(os.geteuid(), set()) is Role.CHANGER
    assert access.role(stranger, {101}) is Role.READER
    assert access.role(stranger, {7, 102}) is Role.CHANGER
    assert access.role(stranger, {7}) is None
    assert Access(readers=101).role(stranger, {7}) is None


def test_supplementary_groups_of_another_user_count() -> None:
    """Real credentials: a process of another user, with and without the group."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    access = Access(readers=4242, changers=4343)
    with (
        tempfile.TemporaryDirectory() as folder,  # every run of pytest shuts its own for other users
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        path = Path(folder) / "peer.sock"
        path.parent.chmod(0o755)
        listener.bind(os.fspath(path))
        path.chmod(0o777)
        listener.listen()
        for groups, role in (([4242], Role.READER), ([7, 4343], Role.CHANGER), ([7], None), ([], None)):
            program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.recv(1)"
            child = subprocess.Popen([sys.executable, "-c", program], user=NOBODY, group=NOBODY, extra_groups=groups)
            peer, _ = listener.accept()
            with peer:
                found = access.caller(peer)
            child.wait(60)
            assert (found.role if found else None) == role, groups


def test_a_group_that_does_not_exist_is_explained() -> None:
    with pytest.raises(OperatorError, match=r"control\.changers: there is no group no-such-group"):
        Access.of_groups(None, "no-such-group")
    assert Access.of_groups(None, None) == Access(os.getegid(), None)


def test_a_slow_answer_holds_up_nobody(host: Host) -> None:
    slow, quick = host.client(), host.client()
    assert host.ask(slow, call("org.test.Slow", text="s"), call("org.test.Echo", text="after")) == []
    assert host.gate.entered.wait(60)
    assert host.turns() < 1000, "the loop spins while it waits"
    assert host.ask(quick, call("org.test.Echo", text="q")) == [{"parameters": {"text": "q"}}]
    host.clock.now_s += MAX_STILL_S + 1
    host.server.sweep()  # who waits for an answer does not stand still
    host.gate.open.set()
    received = bytearray()
    slow.setblocking(False)
    while received.count(END) < 2:
        host.selector.select(60)
        host.turns()
        with suppress(BlockingIOError):
            received += slow.recv(1 << 16)
    replies = [json.loads(reply) for reply in received.split(END) if reply]
    assert replies == [{"parameters": {"text": "s"}}, {"parameters": {"text": "after"}}]


def test_slow_answers_come_one_at_a_time_and_a_client_that_went_away_is_no_harm(host: Host) -> None:
    first, second = host.client(), host.client()
    host.ask(first, call("org.test.Slow", text="1"))
    host.ask(second, call("org.test.Slow", text="2"))
    first.close()
    host.gate.open.set()
    received = b""
    while not received.endswith(END):
        host.selector.select(60)
        host.turns()
        with suppress(BlockingIOError):
            received += second.recv(1 << 16)
    assert json.loads(received[:-1]) == {"parameters": {"text": "2"}}


def test_a_server_may_close_while_an_answer_is_waited_for(tmp_path: Path) -> None:
    server = Host(tmp_path / "control.sock")
    server.ask(server.client(), call("org.test.Slow", text="1"))
    assert server.gate.entered.wait(60)
    server.close()


def test_what_a_job_raises_ends_the_loop() -> None:
    with selectors.DefaultSelector() as selector:
        jobs = Jobs(selector)
        jobs.submit(lambda: 1 // 0, print)
        ((key, events),) = selector.select(60)
        with pytest.raises(ZeroDivisionError):
            key.data(events)
        jobs.close()


def test_an_operator_error_reaches_the_client(tmp_path: Path) -> None:
    description = DESCRIPTION.replace("org.test", "org.levee")
    methods = {"Refuse": Method(refuse), "Change": Method(echo, Role.CHANGER)}
    answering = Service(version="1", description=description, methods=methods)
    path = tmp_path / "one.sock"
    reader = Caller(1, NOBODY, Role.READER)

    def ask(method: str, **parameters: object) -> OperatorError:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path.unlink(missing_ok=True)
            listener.bind(os.fspath(path))
            listener.listen(1)

            def serve() -> None:
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(answering.answer(peer.recv(1 << 16)[:-1], reader).give())

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(OperatorError) as caught:
                client.call(path, f"org.levee.{method}", parameters)
            thread.join()
            return caught.value

    plain = ask("Refuse")
    assert (plain.message, plain.hint) == ("it cannot be done", "do something else")
    config = ask("Refuse", config=True)
    assert isinstance(config, ConfigError)
    assert config.message == "levee.yaml:3:7: mode: is wrong, this would be right"
    assert ask("Change").message == "org.levee.Change: you may look, but not change anything"


def test_connections_are_limited(host: Host) -> None:
    clients = [host.client() for _ in range(MAX_CONNECTIONS)]
    assert ended(host.client())
    assert host.ask(clients[0], call("org.test.Echo", text="x")) == [{"parameters": {"text": "x"}}]
    clients[1].close()
    host.turns()
    assert not ended(host.client())


def test_readers_leave_room_for_changers(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doorman, "said", Role.READER)
    for _ in range(MAX_CONNECTIONS - FOR_CHANGERS):
        host.client()
    assert ended(host.client())
    monkeypatch.setattr(Doorman, "said", Role.CHANGER)
    assert host.ask(host.client(), call("org.test.Change", text="x")) == [{"parameters": {"text": "x"}}]


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
    assert len(host.selector.get_map()) == 2, "the listener and the pipe of the jobs"


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
        ControlServer(
            tmp_path / "missing" / "control.sock", service(), Access(os.getegid()), Jobs(selector), selector, Clock()
        )


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
    method = text[text.index("method Status()") :].split("\n\n")[0]
    assert fields_of(method) == set(get_type_hints(report.StatusReport, {"Config": None}))
    assert fields_of(types["Usage"]) == set(get_type_hints(report.UsageReport))
    assert fields_of(types["Hold"]) == set(get_type_hints(report.HoldReport))
    assert fields_of(types["Service"]) == set(get_type_hints(report.ServiceReport))
    assert fields_of(types["Attack"]) == set(get_type_hints(report.AttackReport))
    assert fields_of(types["Pending"]) == set(get_type_hints(report.PendingReport))
    assert fields_of(types["Configuration"]) == set(get_type_hints(report.ConfigurationReport))
    assert fields_of(types["Queue"]) == set(get_type_hints(report.QueueReport))
    assert fields_of(types["Event"]) == set(get_type_hints(EventReport))
    assert fields_of(types["Backend"]) == set(get_type_hints(backends.BackendReport))
    assert f"state: ({', '.join(get_args(report.State))})" in text
    assert fields_of(types["Flow"]) == set(get_type_hints(flows.FlowReport))
    assert f"state: ({', '.join(flows.STATES)})" in text


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
    assert (control.MAX_CONNECTIONS, control.FOR_CHANGERS, control.SOCKET_MODE) == (64, 8, 0o660)
    assert MAX_CALL_BYTES == {Role.READER: 64 << 10, Role.CHANGER: 8 << 20}


def test_every_method_of_the_interface_file_is_in_the_table_and_the_other_way_round() -> None:
    text = resources.files("appliance").joinpath("org.levee.varlink").read_text(encoding="utf-8")
    source = "".join(
        path.read_text(encoding="utf-8") for path in resources.files("appliance").iterdir() if ".py" in path.name
    )
    assert set(re.findall(r'"(\w+)": Method\(', source)) == set(re.findall(r"^method (\w+)\(", text, re.MULTILINE))
