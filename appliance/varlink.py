"""The Varlink wire format, and the part of a service that every one has: org.varlink.service.

Owns messages (JSON objects that end with a NUL byte), their bounds, and the dispatch of a method to its handler. Called
by control.py (server) and client.py. Must not know sockets, nor what the methods do. Source: varlink.org, "Protocol"
and "Service".
"""

import json
from collections.abc import Callable, Mapping

MAX_MESSAGE_BYTES = 64 << 10
END = b"\0"

SERVICE_INTERFACE = """\
interface org.varlink.service

method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error InvalidParameter (parameter: string)
"""

Parameters = Mapping[str, object]
Handler = Callable[[Parameters], Parameters]


class BrokenMessageError(ValueError):
    """What came is not a message; nothing sensible can follow on this connection."""


class CallError(Exception):
    """An error reply: its full name and its parameters."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


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
        raise CallError("org.varlink.service.InvalidParameter", {"parameter": "parameters"})
    return parameters


class Service:
    """The methods of one interface besides org.varlink.service."""

    def __init__(self, *, version: str, description: str, methods: Mapping[str, Handler]) -> None:
        self._version = version
        self._name = next(line.split()[1] for line in description.splitlines() if line.startswith("interface "))
        self._descriptions = {"org.varlink.service": SERVICE_INTERFACE, self._name: description}
        self._handlers: dict[str, Handler] = {
            "org.varlink.service.GetInfo": self._info,
            "org.varlink.service.GetInterfaceDescription": self._description,
            **{f"{self._name}.{method}": handler for method, handler in methods.items()},
        }

    def answer(self, data: bytes) -> bytes:
        """The reply to the call in `data`, empty for a call that wants none. Raises BrokenMessageError."""
        call = decode(data)
        method = call.get("method")
        if not isinstance(method, str):
            raise BrokenMessageError("a call without a method")
        reply: dict[str, object]
        try:
            reply = {"parameters": self._handler(method)(_parameters(call))}
        except CallError as error:
            reply = {"error": error.name, "parameters": error.parameters}
        return b"" if call.get("oneway") is True else encode(reply)

    def _handler(self, method: str) -> Handler:
        if handler := self._handlers.get(method):
            return handler
        interface = method.rpartition(".")[0]
        if interface in self._descriptions:
            raise CallError("org.varlink.service.MethodNotFound", {"method": method})
        raise CallError("org.varlink.service.InterfaceNotFound", {"interface": interface})

    def _info(self, _parameters: Parameters) -> Parameters:
        return {
            "vendor": "Levee",
            "product": "levee",
            "version": self._version,
            "url": "",
            "interfaces": list(self._descriptions),
        }

    def _description(self, parameters: Parameters) -> Parameters:
        interface = parameters.get("interface")
        if not isinstance(interface, str):
            raise CallError("org.varlink.service.InvalidParameter", {"parameter": "interface"})
        if interface not in self._descriptions:
            raise CallError("org.varlink.service.InterfaceNotFound", {"interface": interface})
        return {"description": self._descriptions[interface]}
