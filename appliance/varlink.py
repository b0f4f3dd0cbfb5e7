"""The Varlink wire format, and the part of a service that every one has: org.varlink.service.

Owns messages (JSON objects that end with a NUL byte), their bounds, and the table of methods: who may call one, and
what answers it. Called by control.py (server) and client.py. Must not know sockets, nor what the methods do. Source:
varlink.org, "Protocol" and "Service".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from appliance.errors import ConfigError, OperatorError
from appliance.roles import Caller, Role

# A call with its parameters. Only a changer can send a whole configuration (config.MAX_FILE_BYTES, JSON's escapes).
MAX_CALL_BYTES = {Role.READER: 64 << 10, Role.CHANGER: 8 << 20}
MAX_TEXT_CHARACTERS = 1000
END = b"\0"

PERMISSION_DENIED = "PermissionDenied"
REFUSED = "Refused"
CONFIGURATION_REFUSED = "ConfigurationRefused"

SERVICE_INTERFACE = """\
interface org.varlink.service

method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error InvalidParameter (parameter: string)
"""

Parameters = Mapping[str, object]


class BrokenMessageError(ValueError):
    """What came is not a message; nothing sensible can follow on this connection."""


class CallError(Exception):
    """An error reply: its full name and its parameters."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


def _invalid(name: str) -> CallError:
    return CallError("org.varlink.service.InvalidParameter", {"parameter": name})


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, and by whom. The readers of parameters raise CallError on anything that is not as described."""

    parameters: Parameters
    caller: Caller

    def text(self, name: str, default: str | None = None, *, most: int = MAX_TEXT_CHARACTERS) -> str:
        """A text of at most `most` characters; without a default it must be there."""
        value = self._value(name, default)
        if not isinstance(value, str) or len(value) > most:
            raise _invalid(name)
        return value

    def whole(self, name: str, default: int | None = None, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`; without a default it must be there."""
        value = self._value(name, default)
        if type(value) is not int or not low <= value <= high:
            raise _invalid(name)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """true or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise _invalid(name)
        return value

    def _value(self, name: str, default: object) -> object:
        value = self.parameters.get(name)
        return default if value is None else value


Handler = Callable[[Call], Parameters]


@dataclass(frozen=True, slots=True)
class Method:
    """A line of the table. `slow`: it may wait (for nft, for a disk), so it runs in the thread of jobs.py."""

    handler: Handler
    role: Role = Role.READER
    slow: bool = False


def encode(message: Mapping[str, object]) -> bytes:
    """The bytes of a message, with its end mark."""
    return json.dumps(message, separators=(",", ":")).encode() + END


def decode(data: bytes) -> dict[str, object]:
    """The message in `data` (without its end mark). Raises BrokenMessageError on anything but a JSON object."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenMessageError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BrokenMessageError("not a JSON object")
    return message


def _parameters(call: Parameters) -> Parameters:
    parameters = call.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise _invalid("parameters")
    return parameters


@dataclass(frozen=True, slots=True)
class Answer:
    """A call on its way to its reply; `slow` as in Method."""

    slow: bool
    give: Callable[[], bytes]


class Service:
    """The methods of one interface besides org.varlink.service."""

    def __init__(self, *, version: str, description: str, methods: Mapping[str, Method]) -> None:
        self._version = version
        self._name = next(line.split()[1] for line in description.splitlines() if line.startswith("interface "))
        self._descriptions = {"org.varlink.service": SERVICE_INTERFACE, self._name: description}
        self._methods: dict[str, Method] = {
            "org.varlink.service.GetInfo": Method(self._info),
            "org.varlink.service.GetInterfaceDescription": Method(self._description),
            **{f"{self._name}.{name}": method for name, method in methods.items()},
        }

    def answer(self, data: bytes, caller: Caller) -> Answer:
        """What will give the reply to the call in `data`: empty for one that wants none. Raises BrokenMessageError."""
        message = decode(data)
        name = message.get("method")
        if not isinstance(name, str):
            raise BrokenMessageError("a call without a method")
        oneway = message.get("oneway") is True
        try:
            method = self._allowed(name, caller)
            call = Call(_parameters(message), caller)
        except CallError as error:
            refusal = self._error(error)
            return Answer(slow=False, give=lambda: b"" if oneway else refusal)
        return Answer(method.slow, lambda: self._give(method, call, oneway=oneway))

    def _give(self, method: Method, call: Call, *, oneway: bool) -> bytes:
        try:
            reply = encode({"parameters": method.handler(call)})
        except CallError as error:
            reply = self._error(error)
        except ConfigError as error:
            problems = [
                {"line": one.line, "column": one.column, "key": one.key, "wrong": one.wrong, "right": one.right}
                for one in error.problems
            ]
            reply = self._error(self._own(CONFIGURATION_REFUSED, {"file": error.file, "problems": problems}))
        except OperatorError as error:
            reply = self._error(self._own(REFUSED, {"message": error.message, "hint": error.hint}))
        return b"" if oneway else reply

    @staticmethod
    def _error(error: CallError) -> bytes:
        return encode({"error": error.name, "parameters": error.parameters})

    def _own(self, name: str, parameters: Parameters) -> CallError:
        return CallError(f"{self._name}.{name}", parameters)

    def _allowed(self, name: str, caller: Caller) -> Method:
        method = self._methods.get(name)
        if method is None:
            interface = name.rpartition(".")[0]
            if interface in self._descriptions:
                raise CallError("org.varlink.service.MethodNotFound", {"method": name})
            raise CallError("org.varlink.service.InterfaceNotFound", {"interface": interface})
        if caller.role < method.role:
            raise self._own(PERMISSION_DENIED, {"method": name})
        return method

    def _info(self, _call: Call) -> Parameters:
        return {
            "vendor": "Levee",
            "product": "levee",
            "version": self._version,
            "url": "",
            "interfaces": list(self._descriptions),
        }

    def _description(self, call: Call) -> Parameters:
        interface = call.text("interface")
        if interface not in self._descriptions:
            raise CallError("org.varlink.service.InterfaceNotFound", {"interface": interface})
        return {"description": self._descriptions[interface]}
