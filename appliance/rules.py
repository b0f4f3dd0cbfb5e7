"""The packet rules as text: what the kernel hands to the queues, and what it leaves alone.

Owns the nftables table of Levee and, for kernels without nftables' `queue` expression, the iptables rules beside it.
Pure functions of the configuration: nothing here touches the system. Called by steering.py and by tests that compare
the text with golden files. Must not know how text gets into the kernel.

The way of a packet: not from our two interfaces -> accepted; from or to an excepted host -> accepted; then by
interface, whatever belongs to a steered service (or could: fragments, ICMP errors) goes to chain `steer`, which hands
it to user space. Everything else goes on in the kernel, untouched. In mode host there is one interface, and what the
machine itself sends there stands for what came from inside.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from appliance.addresses import (
    AddressRange,
    disjoint,
    merge_addresses,
)
from appliance.models import Config, Nfqueue, Service

Method = Literal["queue", "mark"]

TABLE = "levee"
COMMENT = "levee"  # marks our rule in iptables' raw table

# Before defragmentation (-400), so that fragments are seen as they came, and before connection tracking (-200) and
# iptables' raw table (-300): include/uapi/linux/netfilter_ipv4.h, NF_IP_PRI_RAW_BEFORE_DEFRAG.
STEER_PRIORITY = -450
# After iptables' raw table, before anything that looks at marks.
UNMARK_PRIORITY = -290
# The bits of the packet mark that carry a packet from the nftables chain to the iptables rule; nobody else sees them.
STEER_MARK = 0x4C000000
SYN_MARK = 0x02000000  # beside STEER_MARK: it is a SYN
SYN = "tcp flags & (syn | ack) == syn"

# Next headers of an IPv6 fragment header behind which TCP can be: TCP, hop-by-hop, routing, destination options,
# fragment, AH, mobility, HIP, SHIM6. RFC 8200 section 4.1 and the IANA list of extension headers.
MAYBE_TCP = "{ 6, 0, 43, 60, 44, 51, 135, 139, 140 }"
# ICMP errors can carry a segment of a translated connection: RFC 792, RFC 4443.
ICMP_ERRORS = "meta l4proto icmp icmp type { destination-unreachable, time-exceeded, parameter-problem }"
ICMPV6_ERRORS = (
    "meta l4proto ipv6-icmp icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }"
)


def _tables() -> tuple[str, ...]:
    return (f"table inet {TABLE}", f"table bridge {TABLE}")


def family(config: Config) -> str:
    """The nftables family of the table."""
    return "bridge" if config.mode == "bridge" else "inet"


def steered_services(config: Config) -> tuple[Service, ...]:
    """The services whose packets are worth a queue's time: those that are protected."""
    return tuple(service for service in config.services.values() if service.protect != "off")


def ruleset(
    config: Config, services: Sequence[Service], method: Method, present: Iterable[str] = (), *, in_place: bool = False
) -> str:
    """The table as a file for `nft -f`, which puts it in place of its predecessor in one transaction.

    `services` are the ones to steer: those of the configuration, and others whose connections have not ended yet.
    `present` are the lines of `nft list tables`: a table left behind in another family (by another mode) goes too.

    in_place: the table is there, and keeps its chains and sets. A packet that has entered a base chain when that is
    deleted finds it empty (nf_tables_api.c makes a deleted chain's rules void with the new generation, while the packet
    still holds the old hooks), and passes: of 60,000 SYNs a second, about one at every third change. With other
    contents of the same chain it sees the old ones or the new ones.
    """
    table = f"table {family(config)} {TABLE}"
    sets = _sets(config, services)
    names = [block[0].split()[1] for block in sets]
    emptied = [f"flush {table}", *(f"flush set {family(config)} {TABLE} {name}" for name in names)]
    lines = [
        "# Written by levee: replaced as a whole at every change, removed when levee stops.",
        table,
        *(emptied if in_place else [f"delete {table}"]),
        *(f"delete {other}" for other in present if other in _tables() and other != table),
        "",
        f"{table} {{",
    ]
    brace = len(lines)
    for block in (*sets, *_chains(config, method)):
        lines += ["", *(f"\t{line}" if line else "" for line in block)]
    lines += ["}", ""]
    del lines[brace]  # no empty line after the brace
    return "\n".join(lines)


def removal(config: Config) -> str:
    """Takes the table away, whether it is there or not."""
    table = f"table {family(config)} {TABLE}"
    return f"{table}\ndelete {table}\n"


def removals(present: Iterable[str]) -> str:
    """Takes our tables of every mode away; `present` are the lines of `nft list tables`. Empty when there are none."""
    return "".join(f"delete {table}\n" for table in present if table in _tables())


def probe(config: Config, *, queue: bool) -> str:
    """A table that is only checked, never loaded: does this kernel know the family, and its queue expression?"""
    table = f"table {family(config)} {TABLE}_probe"
    verdict = _queue(config.nfqueue, syn=False) if queue else "accept"
    hook = f"type filter hook {_hook(config)} priority {STEER_PRIORITY}; policy accept;"
    return "\n".join([f"{table} {{", "\tchain probe {", f"\t\t{hook}", f"\t\t{verdict}", "\t}", "}", ""])


def iptables_wanted(nfqueue: Nfqueue) -> tuple[str, ...]:
    """The rules of the raw table that queue what the nftables chains marked, in order, without their `-A`."""
    bypass = " --queue-bypass" if nfqueue.without_daemon == "pass" else ""

    def rule(bits: int, *, syn: bool) -> str:
        first, last = _numbers(nfqueue, syn=syn)
        queues = f"--queue-num {first}" if first == last else f"--queue-balance {first}:{last}"
        return f"-m mark --mark {bits:#x}/{bits:#x} -m comment --comment {COMMENT} -j NFQUEUE {queues}{bypass}"

    syns, rest = rule(STEER_MARK | SYN_MARK, syn=True), rule(STEER_MARK, syn=False)
    return f"PREROUTING {syns}", f"PREROUTING {rest}", f"OUTPUT {rest}"


def iptables_rules(present: Iterable[str]) -> list[str]:
    """Our rules among the lines of `iptables -S`, without their `-A`."""
    return [line.removeprefix("-A ") for line in present if f"--comment {COMMENT} " in f"{line} "]


def iptables_change(present: Iterable[str], wanted: Sequence[str]) -> str:
    """Input of `iptables-restore --noflush` that leaves `wanted`, in that order, as our only rules, in one transaction.

    `present` are the lines of `iptables -S`; rules of others are left alone.
    """
    lines = ["*raw"]
    number: Counter[str] = Counter()
    for each in wanted:
        chain, rule = each.split(" ", 1)
        number[chain] += 1
        lines.append(f"-I {chain} {number[chain]} {rule}")
    lines += [f"-D {line}" for line in iptables_rules(present)]
    return "\n".join([*lines, "COMMIT", ""])


def _hook(config: Config) -> str:
    return "forward" if config.mode == "bridge" else "prerouting"


def _numbers(nfqueue: Nfqueue, *, syn: bool) -> tuple[int, int]:
    """First and last number of the queues for SYNs, or of those for all else."""
    first = nfqueue.first_syn_queue if syn else nfqueue.first_queue
    return first, first + nfqueue.queues - 1


def _queue(nfqueue: Nfqueue, *, syn: bool) -> str:
    """No `fanout`: the kernel's hash of the two addresses keeps both directions of a flow in one queue."""
    first, last = _numbers(nfqueue, syn=syn)
    queues = str(first) if first == last else f"{first}-{last}"
    flags = "flags bypass " if nfqueue.without_daemon == "pass" else ""
    return f"queue {flags}to {queues}"


def _set(name: str, kind: str, elements: Sequence[str]) -> list[str]:
    lines = [f"set {name} {{", f"\ttype {kind}", "\tflags interval"]
    if elements:
        lines += ["\telements = {", *(f"\t\t{element}," for element in elements), "\t}"]
    return [*lines, "}"]


def _of_family(ranges: Iterable[AddressRange], number: int) -> list[str]:
    return [str(span) for span in ranges if span.family == number]


def _sets(config: Config, services: Sequence[Service]) -> list[list[str]]:
    areas = disjoint([area for service in services for area in service.areas])
    hosts = merge_addresses(area.addresses for area in areas)
    blocks = []
    for number, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        elements = [
            f"{area.addresses} . {ports}" for area in areas if area.addresses.family == number for ports in area.ports
        ]
        blocks.append(_set(f"except{number}", kind, _of_family(config.excepted, number)))
        blocks.append(_set(f"service{number}", f"{kind} . inet_service", elements))
        blocks.append(_set(f"host{number}", kind, _of_family(hosts, number)))
    return blocks


def _chains(config: Config, method: Method) -> list[list[str]]:
    from_outside = [
        "ip daddr . tcp dport @service4 goto steer",
        "ip6 daddr . tcp dport @service6 goto steer",
        "ip daddr @host4 ip protocol tcp ip frag-off & 0x3fff != 0 goto steer",
        f"ip6 daddr @host6 frag nexthdr {MAYBE_TCP} goto steer",
        f"ip daddr @host4 {ICMP_ERRORS} goto steer",
        f"ip6 daddr @host6 {ICMPV6_ERRORS} goto steer",
    ]
    from_inside = [
        "ip saddr . tcp sport @service4 goto steer",
        "ip6 saddr . tcp sport @service6 goto steer",
        f"meta protocol ip {ICMP_ERRORS} goto steer",
        f"meta protocol ip6 {ICMPV6_ERRORS} goto steer",
    ]
    bridge, host = config.mode == "bridge", config.mode == "host"
    # No sets without a name in a base chain: their elements go with the old generation, and a packet that is still in
    # the old rules finds them empty (nft_set_elem_active() asks for the new one): some SYNs of a flood passed so.
    others = f'iifname != "{config.outside}"' + ("" if host else f' iifname != "{config.inside}"')
    excepted = [
        f"{name} {end} @except{number} accept"
        for number, name in ((4, "ip"), (6, "ip6"))
        if _of_family(config.excepted, number)
        for end in ("saddr", "daddr")
    ]
    base = [
        f"chain {_hook(config)} {{",
        f"\ttype filter hook {_hook(config)} priority {STEER_PRIORITY}; policy accept;",
        *([f"\t{others} accept"] if bridge or excepted else []),
        *(f"\t{line}" for line in excepted),
        *(["\tmeta protocol vlan goto stacked"] if bridge else []),
        f'\tiifname "{config.outside}" goto from_outside',
        *([] if host else [f'\tiifname "{config.inside}" goto from_inside']),
        "}",
    ]
    return [
        *_steer(config, method),
        *([["chain stacked {", *(f"\t{line}" for line in _stacked_vlans(config)), "}"]] if bridge else []),
        ["chain from_outside {", *(f"\t{line}" for line in from_outside), "}"],
        ["chain from_inside {", *(f"\t{line}" for line in from_inside), "}"],
        base,
        *([] if bridge else [_own_packets(config, excepted) if host else _own_errors(config)]),
    ]


def _own_packets(config: Config, excepted: Sequence[str]) -> list[str]:
    """Mode host: the servers are sockets of this machine, so what they send comes from no interface."""
    return [
        "chain own_packets {",
        f"\ttype filter hook output priority {STEER_PRIORITY}; policy accept;",
        f'\toifname != "{config.outside}" accept',
        *(f"\t{line}" for line in excepted),
        "\tgoto from_inside",
        "}",
    ]


def _own_errors(config: Config) -> list[str]:
    """A router itself says that a packet is too big to go out or cannot be delivered, and quotes it in our numbering.

    Only what it tells a server: the numbers of a client's segments are the same on both sides.
    """
    return [
        "chain own_errors {",
        f"\ttype filter hook output priority {STEER_PRIORITY}; policy accept;",
        f'\toifname != "{config.inside}" accept',
        f"\tip daddr @host4 {ICMP_ERRORS} goto steer",
        f"\tip6 daddr @host6 {ICMPV6_ERRORS} goto steer",
        "}",
    ]


def _steer(config: Config, method: Method) -> list[list[str]]:
    """The chain that hands a packet over; connection tracking never sees it, since its numbers would not fit."""
    queues = (f"\t{SYN} {_queue(config.nfqueue, syn=True)}", f"\t{_queue(config.nfqueue, syn=False)}")
    if config.mode == "bridge":
        return [["chain steer_syn {", f"\t{_queue(config.nfqueue, syn=True)}", "}"], ["chain steer {", *queues, "}"]]
    if method == "queue":
        return [["chain steer {", "\tnotrack", *queues, "}"]]
    bits = (f"{STEER_MARK | SYN_MARK:#010x}", f"{STEER_MARK:#010x}")
    marked = [
        f"meta mark & {one} == {one} meta mark set meta mark & {~int(one, 16) & 0xFFFFFFFF:#010x}" for one in bits
    ]
    return [
        [
            "chain steer {",
            "\tnotrack",
            f"\t{SYN} meta mark set meta mark | {bits[0]} accept",
            f"\tmeta mark set meta mark | {bits[1]}",
            "}",
        ],
        *(
            [
                f"chain {name} {{",
                f"\ttype filter hook {hook} priority {UNMARK_PRIORITY}; policy accept;",
                *(f"\t{line}" for line in marked),
                "}",
            ]
            for name, hook in (("unmark", "prerouting"), ("unmark_own", "output"))
        ),
    ]


def _stacked_vlans(config: Config) -> list[str]:
    """QinQ: the kernel takes the outer tag off, the inner one is the first 4 bytes of what it calls the network header.

    nftables has no names for what lies behind it, so raw offsets (in bits): inner ethertype at 16, then IPv4 with its
    header length at 36, protocol at 104, source at 128, destination at 160, and (no options) TCP flags at 296; IPv6
    with its next header at 80, source at 96, destination at 224, TCP flags at 456. The service is found in user space.
    The chain is only reached by `meta protocol vlan`; with that match in the same rule as a raw offset, `nft list` of
    nftables 1.1.3 aborts (payload_expr_expand, the base of vlan is the link layer).
    """
    ipv4, ipv6 = "@nh,16,16 0x0800", "@nh,16,16 0x86dd"
    lines = []
    for span in config.excepted:
        inner, width, offsets = (ipv4, 32, (128, 160)) if span.family == 4 else (ipv6, 128, (96, 224))
        values = f"{span.first:#x}-{span.last:#x}" if span.first != span.last else f"{span.first:#x}"
        lines += [f"{inner} @nh,{offset},{width} {values} accept" for offset in offsets]
    return [
        *lines,
        f"{ipv4} @nh,36,4 5 @nh,104,8 6 @nh,296,8 & 0x12 == 0x02 goto steer_syn",
        f"{ipv6} @nh,80,8 6 @nh,456,8 & 0x12 == 0x02 goto steer_syn",
        f"{ipv4} @nh,104,8 {{ 1, 6 }} goto steer",
        f"{ipv6} goto steer",
    ]
