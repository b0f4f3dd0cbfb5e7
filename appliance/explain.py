"""What a configuration means, in sentences: what a client is answered, where each value comes from, what is dropped.

Owns the sentences; pure functions of the configuration and its text, so explaining is free. Called by
commands/explain.py. Must not know the machine: what only a running box knows (the engine that was chosen, what servers
announce) is said to be found in `levee status` and `levee backends`.
"""

from collections.abc import Iterator, Mapping

from appliance import memory, rules
from appliance.addresses import ALL_PORTS, AddressRange
from appliance.engine import IPV6_HEADER_EXTRA_BYTES
from appliance.models import Config, Service
from appliance.values import duration_text, size_text
from appliance.yamldoc import Document

LABEL = 15
MAX_LISTED = 6
DEFAULT = "default"

PROTECTION = {
    "always": "every new connection is proven by a cookie before a server hears of it",
    "auto": "traffic is watched, and new connections are proven by cookies while there is an attack",
    "off": "nothing is done: packets pass as if there was no box",
}
WINDOW = {
    "real": "is taken at once, up to {hold} a connection, and delivered when the server has answered",
    "zero": "waits at the client until the server has answered (window 0)",
}
FRAGMENTS = {
    "drop": "dropped, since a flood can hide in them",
    "pass": "passed on without a look, so a flood of them gets through",
}
SIGNED = {
    "drop": "with TCP-MD5 or TCP-AO are dropped",
    "pass": "with TCP-MD5 or TCP-AO go to the server, at most 50 a second: no box can sign an answer",
}
ENGINE = {
    "auto": "bpf where kernel and NICs allow it, else nfqueue; `levee status` says which",
    "bpf": "programs in the kernel, on both NICs",
    "nfqueue": "threads in user space, to which nftables queues what belongs to a service",
}
OVER = {
    "drop": "more are dropped, and repeated by TCP until it is their turn",
    "reset": "more are answered with a reset",
    "block": "whoever wants more is blocked for {block_for}",
}
SAID = {
    "addresses",
    "ports",
    "vlan",
    "protect",
    "attack",
    "window",
    "fragments",
    "signed",
    "forward_to",
    "trap",
    "per_source",
    "log",
    "server",
}


class Explanation:
    """One configuration; `document` is its text as yamldoc.parse() gives it, for the lines its values stand in."""

    def __init__(self, config: Config, document: Document) -> None:
        self._config = config
        self._document = document

    def lines(self, only: str | None = None) -> Iterator[str]:
        """Everything, or one service."""
        if only is None:
            yield from self._box()
        for name, service in self._config.services.items():
            if only in (None, name):
                yield ""
                yield from self._service(name, service)
        if only is None:
            yield ""
            yield from self._memory()

    def _from(self, *path: str) -> str:
        """Where the value at `path` comes from."""
        key = self._document.keys.get(path)
        return f"line {key.line}" if key else DEFAULT

    def _line(self, label: str, text: str, *path: str) -> str:
        return f"  {label:<{LABEL}}{text}{f'  [{self._from(*path)}]' if path else ''}"

    def _box(self) -> Iterator[str]:
        config = self._config
        where = {
            "bridge": f"bridge {config.bridge}, clients at {config.outside}, servers at {config.inside}",
            "routed": f"a router, clients at {config.outside}, servers at {config.inside}",
            "host": f"the sockets of this machine, clients at {config.outside}",
        }
        yield f"{config.mode}: {where[config.mode]}"
        yield self._line("engine", ENGINE[config.engine], "engine")
        if config.mode == "bridge" and config.engine != "nfqueue":
            late_s = config.bpf.heartbeat_late_ms / 1000
            words = {"drop": "are dropped", "pass": "go straight to the servers"}
            text = (
                f"with bpf, {late_s:g} s after it: open connections go on, new ones {words[config.bpf.without_daemon]}"
            )
            yield self._line("without daemon", text, "bpf", "without_daemon")
        if config.engine != "bpf":
            words = {
                "drop": "all packets of services are dropped",
                "pass": "all pass unseen, open connections stand still",
            }
            text = f"with nfqueue: {words[config.nfqueue.without_daemon]}"
            yield self._line("without daemon", text, "nfqueue", "without_daemon")
            words = {"drop": "dropped, and repeated by TCP", "pass": "passed on unseen"}
            text = f"with nfqueue: what does not fit is {words[config.nfqueue.when_full]}"
            yield self._line("queue full", text, "nfqueue", "when_full")
        if config.excepted:
            yield self._line("never touched", _listed(config.excepted), "except")
        yield self._line("anything else", "passes untouched")

    def _service(self, name: str, service: Service) -> Iterator[str]:
        at = ("services", name)
        yield f"{name}: {_listed(service.addresses)}  {_ports(service)}{_vlans(service)}  [{self._from(*at)}]"
        yield self._line("protection", PROTECTION.get(service.protect, service.protect), *at, "protect")
        if service.protect == "auto":
            marks = service.attack
            begins = f"{marks.high_syns_per_s} SYNs a second, or {marks.high_unfinished_percent} % of them unfinished"
            ends = f"{marks.low_syns_per_s} and {marks.low_unfinished_percent} % for {marks.quiet_s} s"
            yield self._line("it begins", f"above {begins}", *at, "attack")
            yield self._line("and ends", f"below {ends}", *at, "attack")
        if service.forward_to is not None:
            port, address = service.forward_to.port, service.forward_to.address
            where = f"port {port} of the same address" if address is None else f"{address} port {port}"
            yield self._line("forwarded to", f"{where}, which is closed to clients itself", *at, "forward_to")
        if service.protect != "off":
            if service.trap is not None:
                text = (
                    f"who completes a handshake is blocked for {duration_text(service.trap)}, and no server hears of it"
                )
                yield self._line("a trap", text, *at, "trap")
            yield from self._per_source(name, service)
            yield self._line("a SYN", "is answered by the box itself, at once, with a cookie in the sequence number")
            yield from self._offered(name, service)
            hold = size_text(self._config.limits.hold_per_flow)
            yield self._line("early data", WINDOW[service.window].format(hold=hold), *at, "window")
            yield self._line("a forged ACK", "is dropped: its cookie is wrong")
            yield self._line("no handshake", "any other segment without a connection is dropped, without an answer")
            yield self._line("closed port", "a proven client gets the server's own reset, with the right numbers")
            yield self._line("fragments", FRAGMENTS[service.fragments], *at, "fragments")
            if service.trap is None:
                yield self._line("signed SYNs", SIGNED[service.signed], *at, "signed")
            yield from self._logged(name, service)
        for key, field in type(service).model_fields.items():
            if key not in SAID and (value := getattr(service, key)) != field.get_default(call_default_factory=True):
                yield self._line(key, str(value), *at, key)

    def _per_source(self, name: str, service: Service) -> Iterator[str]:
        limits = service.per_source
        if not limits.any:
            return
        at = ("services", name, "per_source")
        may = [f"open {limits.new_per_s} connections a second"] if limits.new_per_s is not None else []
        may += [f"have {limits.open} open"] if limits.open is not None else []
        over = OVER[limits.over].format(block_for=duration_text(limits.block_for))
        yield self._line("each source", f"that proved itself may {' and '.join(may)}; {over}", *at)
        yield self._line("a source", f"is a /{limits.prefix_ipv4} of IPv4, a /{limits.prefix_ipv6} of IPv6", *at)

    def _logged(self, name: str, service: Service) -> Iterator[str]:
        at = ("services", name, "log")
        if (most := service.log.refused) is not None:
            text = f"what is refused: at most {most} lines, then how many more there were, by reason"
            yield self._line("the log has", text, *at, "refused")
        if (most := service.log.opened) is not None:
            text = f"connections opened: at most {most} lines, then how many more there were"
            yield self._line("the log has", text, *at, "opened")

    def _offered(self, name: str, service: Service) -> Iterator[str]:
        server = service.server
        at = ("services", name, "server")
        until = "whatever servers announce" if server.pin else "until a server has answered: see levee backends"
        yield self._line("it announces", f"{until}  [{self._from(*at)}]")
        wscale = "none" if server.wscale is None else f"{server.wscale} (units of {1 << server.wscale} bytes)"
        values: Mapping[str, str] = {
            "mss": f"{server.mss} bytes over IPv4, {server.mss - IPV6_HEADER_EXTRA_BYTES} over IPv6",
            "wscale": wscale,
            "sack": "yes" if server.sack else "no",
            "timestamps": "yes" if server.timestamps else "no",
        }
        for key, value in values.items():
            yield self._line(f"  {key}", value, *at, key)

    def _memory(self) -> Iterator[str]:
        parts = memory.parts(self._config)
        yield "memory, none of it grows under attack"
        for name, size_bytes in parts.items():
            yield f"  {name:<40}{size_text(size_bytes):>12}"
        yield f"  {'at most':<40}{size_text(sum(parts.values())):>12}"


def nft(config: Config) -> Iterator[str]:
    """The exact rules of the nfqueue engine, in both forms a kernel may need."""
    services = rules.steered_services(config)
    yield "# the nfqueue engine, where the kernel has nft's queue expression (the bpf engine loads no rules):"
    yield from rules.ruleset(config, services, "queue").splitlines()
    if config.mode != "bridge":
        yield "# elsewhere:"
        yield from rules.ruleset(config, services, "mark").splitlines()
        for program in ("iptables", "ip6tables"):
            for rule in rules.iptables_wanted(config.nfqueue):
                yield f"{program} -t raw -A {rule}"


def maps(config: Config) -> Iterator[str]:
    """What both engines look a packet up in: addresses and ports in, service and its switches out."""
    yield "# destination of a packet from outside, source of one from inside -> service"
    rows = [(span, name, service) for name, service in config.services.items() for span in service.addresses]
    for span, name, service in sorted(rows, key=lambda row: (row[0].family, row[0].first)):
        yield f"{span!s:<44} {_ports(service)}{_vlans(service)} -> {name}, protect {service.protect}"
    for name, service in config.services.items():
        for area in service.targets:
            yield f"{area.addresses!s:<44} port {area.ports[0]} -> where {name} is forwarded to"
    for span in config.excepted:
        yield f"{span!s:<44} any port -> never touched"
    limits = config.limits
    yield f"# flows: {limits.flows} entries; half-open: {limits.half_open} entries; sources: {limits.sources} entries"
    if config.mode == "bridge" and config.engine != "nfqueue":
        yield f"# with the bpf engine the maps are pinned in {config.pin_dir}: bpftool map dump pinned FILE"


def _listed(spans: tuple[AddressRange, ...]) -> str:
    shown = ", ".join(str(span) for span in spans[:MAX_LISTED])
    return f"{shown} and {len(spans) - MAX_LISTED} more" if len(spans) > MAX_LISTED else shown


def _ports(service: Service) -> str:
    if service.ports == (ALL_PORTS,):
        return "all ports"
    many = len(service.ports) > 1 or service.ports[0].first != service.ports[0].last
    return f"port{'s' if many else ''} {', '.join(str(ports) for ports in service.ports)}"


def _vlans(service: Service) -> str:
    return "" if service.vlan is None else f" in VLAN {', '.join(str(vid) for vid in service.vlan)}"
