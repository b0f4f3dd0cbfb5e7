"""Reading a configuration file: all of its mistakes at once, each with its place.

Owns the way from bytes to `Config`, the checks between values, and the sentences for pydantic's own errors. Called by
cli.py and daemon.py. Touches nothing but the file it reads: whether an interface exists is asked when the box runs.
"""

import difflib
from collections.abc import Iterator, Mapping
from inspect import isclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from appliance.addresses import Area, PortRange, segments
from appliance.errors import ConfigError, OperatorError, Problem, WrongValue, shown
from appliance.models import Config, Service
from appliance.yamldoc import WHOLE_DOCUMENT, Document, Mark, dotted, parse
from appliance.yamldoc import Path as KeyPath

MAX_FILE_BYTES = 4 << 20


def load(path: Path) -> Config:
    """Reads and checks the file. Raises ConfigError with all its problems, OperatorError when it cannot be read."""
    return loads(read(path), str(path))


def read(path: Path) -> bytes:
    """The file as it is, at most one byte more than may be in it. Raises OperatorError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = "name the file to read, for example: levee check levee.yaml"
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", hint) from error


def loads(data: bytes, file: str) -> Config:
    """As load(), for the bytes of a file; `file` is its name in messages."""
    problems: list[Problem] = []
    text = _decode(data, problems)
    document = parse(text) if not problems else Document(None, {}, {}, ())
    problems += document.problems
    config: Config | None = None
    if isinstance(document.value, dict):
        taken = {(problem.line, problem.column) for problem in problems}
        found = []
        try:
            config = Config.model_validate(document.value)
        except ValidationError as error:
            found += [_problem(document, details) for details in error.errors()]
        found += _across(document)
        # A value that the syntax already refused is not judged a second time.
        problems += [problem for problem in found if (problem.line, problem.column) not in taken]
    elif not problems:
        value = shown(document.value)
        wrong = "is empty" if document.value is None else f"is {value}, not keys and values"
        problems.append(Problem(1, 1, WHOLE_DOCUMENT, wrong, "`version: 1` and what follows would be right"))
    if problems or config is None:
        raise ConfigError(file, problems)
    return config


def _decode(data: bytes, problems: list[Problem]) -> str:
    """UTF-8, with or without a byte order mark."""
    if len(data) > MAX_FILE_BYTES:
        wrong = f"is larger than {MAX_FILE_BYTES >> 20} MiB"
        problems.append(Problem(1, 1, WHOLE_DOCUMENT, wrong, "prefixes instead of single addresses would be right"))
        return ""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        wrong = f"is not UTF-8 text (byte 0x{data[error.start]:02x})"
        problems.append(Problem(line, column, WHOLE_DOCUMENT, wrong, "a file saved as UTF-8 would be right"))
        return ""


def _place(path: KeyPath, mark: Mark, wrong: str, right: str) -> Problem:
    return Problem(mark.line, mark.column, dotted(path), wrong, f"{right} would be right")


def _problem(document: Document, details: ErrorDetails) -> Problem:
    """One of pydantic's errors as ours."""
    path: KeyPath = details["loc"]
    kind: str = details["type"]
    value = details["input"]
    if path and path[-1] == "[key]":
        path = path[:-1]
        mark = document.key_mark(path)
    else:
        mark = document.mark(path)
    match kind:
        case "value_error":
            said = details["ctx"]["error"]
            if not isinstance(said, WrongValue):
                raise TypeError(f"a validator of {dotted(path)} raised {said!r}") from said
            return _place(path, mark, said.wrong, said.right)
        case "missing":
            field = _field(path)
            right = field.description if field and field.description else "a value"
            return _place(path, document.key_mark(path[:-1]), "is missing", right)
        case "extra_forbidden":
            return _place(path, document.key_mark(path), "is not a known key", _nearest(path))
        case "tuple_type":
            right = "a list of them" if isinstance(value, dict | tuple | None) else f"[{shown(value)}]"
            return _place(path, mark, f"{shown(value)} is not a list", right)
        case "model_type" | "dict_type" | "mapping_type":
            return _place(path, mark, f"{shown(value)} is not a mapping", "`key: value` lines below it")
        case _:
            raise TypeError(f"no sentence for pydantic's error {kind} at {dotted(path)}")


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the names they have in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _inner_model(annotation: object) -> type[BaseModel] | None:
    if isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner_model(part))), None)


def _model(path: KeyPath) -> type[BaseModel]:
    """The model whose keys stand at `path`."""
    model: type[BaseModel] = Config
    parts = iter(path)
    for part in parts:
        field = _fields(model).get(str(part))
        inner = _inner_model(field.annotation) if field else None
        if field is None or inner is None:
            break
        if get_origin(field.annotation) is Mapping:
            next(parts, None)  # the name of an entry
        model = inner
    return model


def _field(path: KeyPath) -> FieldInfo | None:
    return _fields(_model(path[:-1])).get(str(path[-1])) if path else None


def _nearest(path: KeyPath) -> str:
    known = sorted(_fields(_model(path[:-1])))
    close = difflib.get_close_matches(str(path[-1]).lower(), known, n=1)
    if close:
        return close[0]
    return next(_elsewhere(Config, str(path[-1])), f"one of {', '.join(known)}")


def _elsewhere(model: type[BaseModel], key: str, path: str = "") -> Iterator[str]:
    """Where a key of this name may stand."""
    for name, field in _fields(model).items():
        if name == key:
            yield f"{path}{name}"
        inner = _inner_model(field.annotation)
        if inner is not None:
            below = f"{path}{name}.NAME." if get_origin(field.annotation) is Mapping else f"{path}{name}."
            yield from _elsewhere(inner, key, below)


def _across(document: Document) -> Iterator[Problem]:
    """Checks between values, on whatever of them is valid alone."""
    raw: dict[str, Any] = document.value if isinstance(document.value, dict) else {}
    mode = raw.get("mode", "bridge")
    if raw.get("outside") is not None and raw.get("outside") == raw.get("inside"):
        path: KeyPath = ("inside",)
        wrong = f"{shown(raw['inside'])} is the outside interface too"
        yield _place(path, document.mark(path), wrong, "the other interface")
    path = ("bridge",)
    if mode == "bridge" and "bridge" not in raw:
        mark = document.key_mark(("mode",)) if "mode" in raw else document.mark(())
        yield _place(path, mark, "is missing", "the bridge that has outside and inside as ports")
    if mode in ("routed", "host") and "bridge" in raw:
        wrong = f"is of no use with mode: {mode}"
        yield _place(path, document.key_mark(path), wrong, "no such key, or mode: bridge,")
    path = ("inside",)
    if raw and mode in ("bridge", "routed") and "inside" not in raw:
        yield _place(path, document.mark(()), "is missing", "the interface towards the servers")
    if mode == "host" and "inside" in raw:
        wrong = "is of no use with mode: host, where the servers are sockets of this machine"
        yield _place(path, document.key_mark(path), wrong, "no such key, or mode: routed,")
    if raw.get("engine") == "bpf" and mode != "bridge":
        path = ("engine",)
        yield _place(path, document.mark(path), "bpf serves mode: bridge only", "nfqueue, or auto, or mode: bridge")
    services = _valid_services(raw.get("services"))
    for name, service in services.items():
        if service.trap is not None and service.protect != "always":
            path = ("services", name, "trap")
            wrong = f"catches nobody with protect: {service.protect}, where handshakes are not seen to their end"
            yield _place(path, document.key_mark(path), wrong, "protect: always")
        if service.per_source.any and (service.trap is not None or service.protect == "off"):
            path = ("services", name, "per_source")
            why = "protect: off" if service.trap is None else "a trap, which serves nobody"
            yield _place(path, document.key_mark(path), f"limits nobody with {why}", "no such key")
        if service.log.any and service.protect == "off":
            path = ("services", name, "log")
            wrong = "is of no use with protect: off, where the box looks at no packet"
            yield _place(path, document.key_mark(path), wrong, "protect: always, or auto,")
        if service.log.opened is not None and service.trap is not None:
            path = ("services", name, "log", "opened")
            wrong = "is of no use with trap, where no connection is opened"
            yield _place(path, document.key_mark(path), wrong, "refused, which has a line for each who is caught,")
        if mode in ("routed", "host") and service.vlan is not None:
            path = ("services", name, "vlan")
            wrong = f"is of no use with mode: {mode}, where the VLAN interface takes the tag off"
            yield _place(path, document.key_mark(path), wrong, "its name as outside or inside")
        yield from _forward(document, name, service, mode)
        if service.forward_to is not None and raw.get("engine") == "bpf":
            path = ("services", name, "forward_to")
            yield _place(path, document.key_mark(path), "is not for the bpf engine", "engine: auto, or nfqueue,")
    yield from _overlaps(document, services)


def _forward(document: Document, name: str, service: Service, mode: object) -> Iterator[Problem]:
    """What forward_to asks of the rest of its service."""
    forward = service.forward_to
    if forward is None:
        return
    path: KeyPath = ("services", name, "forward_to")
    mark = document.key_mark(path)
    if service.protect == "off":
        yield _place(path, mark, "is of no use with protect: off", "protect: always, or auto,")
    if service.trap is not None:
        yield _place(path, mark, "is of no use with trap, where nobody is served", "one of the two")
    if len(service.ports) > 1 or service.ports[0].first != service.ports[0].last:
        wrong = "asks for a service with a single port, since a server's answer has to lead back to it"
        yield _place(path, mark, wrong, "a service for each port")
    same_port = service.ports[0] == PortRange(forward.port, forward.port)
    if same_port and (forward.address is None or forward.address == service.addresses[0]):
        yield _place((*path, "port"), document.mark((*path, "port")), "is the service's own port", "another one")
    if forward.address is None:
        return
    path = (*path, "address")
    mark = document.mark(path)
    if mode != "routed":
        yield _place(path, mark, f"is of no use with mode: {shown(mode)}, which does not route", "mode: routed")
    if len(service.addresses) > 1 or service.addresses[0].first != service.addresses[0].last:
        wrong = "asks for a service with a single address, since a server's answer has to lead back to it"
        yield _place(path, mark, wrong, "a service for each address")
    elif service.addresses[0].family != forward.address.family:
        wrong = f"{forward.address} is not of the family of {service.addresses[0]}"
        yield _place(path, mark, wrong, "an address of the same family")
    if service.fragments == "pass":
        path = ("services", name, "fragments")
        wrong = "is of no use with forward_to.address: later fragments do not say what they belong to"
        yield _place(path, document.key_mark(path), wrong, "drop")


def _valid_services(raw: object) -> dict[str, Service]:
    services = {}
    for name, value in raw.items() if isinstance(raw, dict) else ():
        try:
            services[name] = Service.model_validate(value)
        except ValidationError:
            continue  # its problems are in the list already
    return services


def _overlaps(document: Document, services: Mapping[str, Service]) -> Iterator[Problem]:
    """One problem for each two services that share an address, a port and a VLAN. What one forwards to is its own."""
    areas: list[Area] = []
    owners: list[tuple[str, KeyPath]] = []
    for name, service in services.items():
        for index, span in enumerate(service.addresses):
            areas.append(Area(span, service.ports))
            owners.append((name, ("services", name, "addresses", index)))
        for area in service.targets:
            areas.append(area)
            owners.append((name, ("services", name, "forward_to")))
    reported: set[tuple[KeyPath, KeyPath]] = set()
    for segment in segments(areas):
        for here, later in enumerate(segment.areas):
            for earlier in segment.areas[:here]:
                (first, at), (second, path) = owners[earlier], owners[later]
                if first == second or (at[:3], path[:3]) in reported:
                    continue
                port = _common_port(areas[earlier], areas[later])
                if port is None or not _share_vlan(services[first], services[second]):
                    continue
                reported.add((at[:3], path[:3]))
                wrong = f"port {port} at {segment.addresses} is in service {first} (line {document.mark(at).line}) too"
                yield _place(path, document.mark(path), wrong, "one service for each address and port")


def _common_port(one: Area, other: Area) -> int | None:
    return next(
        (max(a.first, b.first) for a in one.ports for b in other.ports if a.first <= b.last and b.first <= a.last),
        None,
    )


def _share_vlan(one: Service, other: Service) -> bool:
    return one.vlan is None or other.vlan is None or bool(set(one.vlan) & set(other.vlan))
