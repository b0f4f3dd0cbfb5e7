"""Every mistake an operator can make in the file, and the exact lines that answer it."""

from textwrap import dedent

import pytest

from appliance.config import loads
from appliance.errors import ConfigError

GOOD = """\
version: 1
mode: routed
outside: eth0
inside: eth1
services:
  web:
    addresses: [192.0.2.1]
    ports: [80]
"""


def mistakes(text: str | bytes) -> list[str]:
    """The lines that the file is answered with, without its name."""
    data = text if isinstance(text, bytes) else dedent(text).encode()
    with pytest.raises(ConfigError) as caught:
        loads(data, "levee.yaml")
    return [line.removeprefix("levee.yaml:") for line in str(caught.value).splitlines()]


def changed(old: str, new: str) -> str:
    """The good file with one thing changed."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


PORTS = "a port from 1 to 65535, or a range like 8000-8100 would be right"
ADDRESSES = (
    "an address, a prefix like 192.0.2.0/24 or 2001:db8::/64, or a range like 192.0.2.1-192.0.2.9 would be right"
)
NAME = "a name of at most 15 characters without spaces, slashes, colons, quotes and stars would be right"

SINGLE = {
    # the version and the choices
    "version missing": (
        changed("version: 1\n", ""),
        "1:1: version: is missing, version: 1 would be right",
    ),
    "version of the future": (
        changed("version: 1", "version: 2"),
        "1:10: version: 2 is out of bounds, 1 would be right",
    ),
    "version as text": (
        changed("version: 1", 'version: "1"'),
        "1:10: version: 1 is not a whole number, 1 would be right",
    ),
    "version as a boolean": (
        changed("version: 1", "version: true"),
        "1:10: version: true is not a whole number, 1 would be right",
    ),
    "mode unknown": (
        changed("mode: routed", "mode: router"),
        "2:7: mode: router is not one of the choices, bridge, routed or host would be right",
    ),
    "mode without a value": (
        changed("mode: routed", "mode:"),
        "2:6: mode: nothing is not one of the choices, bridge, routed or host would be right",
    ),
    "engine unknown": (
        GOOD + "engine: xdp\n",
        "9:9: engine: xdp is not one of the choices, auto, bpf or nfqueue would be right",
    ),
    "engine for another mode": (
        GOOD + "engine: bpf\n",
        "9:9: engine: bpf serves mode: bridge only, nfqueue, or auto, or mode: bridge would be right",
    ),
    "group that cannot be one": (
        GOOD + "control: {changers: My Admins}\n",
        "9:21: control.changers: My Admins is not the name of a group, a name like adm or levee-admin would be right",
    ),
    # keys
    "key misspelt": (
        changed("outside:", "outsid:") + "outside: eth0\n",
        "3:1: outsid: is not a known key, outside would be right",
    ),
    "key in the wrong case": (
        changed("mode: routed", "Mode: routed\nmode: routed"),
        "2:1: Mode: is not a known key, mode would be right",
    ),
    "key of a service misspelt": (
        changed("    ports: [80]", "    ports: [80]\n    port: [80]"),
        "9:5: services.web.port: is not a known key, ports would be right",
    ),
    "key of the server options misspelt": (
        GOOD + "    server: {timestamp: true}\n",
        "9:14: services.web.server.timestamp: is not a known key, timestamps would be right",
    ),
    "key of a service at the top": (
        GOOD + "ports: [80]\n",
        "9:1: ports: is not a known key, services.NAME.ports would be right",
    ),
    "key of the limits misspelt": (
        GOOD + "limits: {flow: 4096}\n",
        "9:10: limits.flow: is not a known key, flows would be right",
    ),
    "key twice": (
        GOOD + "mode: routed\n",
        "9:1: mode: is given twice (first in line 2), one of them would be right",
    ),
    "service twice": (
        GOOD + "  web: {addresses: [192.0.2.2], ports: [80]}\n",
        "9:3: services.web: is given twice (first in line 6), one of them would be right",
    ),
    "key is a number": (
        GOOD + "80: x\n",
        '9:1: configuration: the key 80 is not text, a name, or "80" in quotes would be right',
    ),
    "merge key": (
        GOOD + "<<: {mode: routed}\n",
        "9:1: configuration: the merge key << is not allowed, the keys written out would be right",
    ),
    # interfaces
    "outside missing": (
        changed("outside: eth0\n", ""),
        "1:1: outside: is missing, the interface towards the clients would be right",
    ),
    "inside in host mode": (
        changed("mode: routed", "mode: host"),
        (
            "4:1: inside: is of no use with mode: host, where the servers are sockets of this machine, "
            "no such key, or mode: routed, would be right"
        ),
    ),
    "inside missing": (
        changed("inside: eth1\n", ""),
        "1:1: inside: is missing, the interface towards the servers would be right",
    ),
    "interface too long": (
        changed("eth0", "outside-interface"),
        f"3:10: outside: outside-interface is not the name of an interface, {NAME}",
    ),
    "interface with a slash": (
        changed("eth0", "eth/0"),
        f"3:10: outside: eth/0 is not the name of an interface, {NAME}",
    ),
    "interface that would end nft's quotes": (
        changed("eth0", "'a\"b'"),
        f'3:10: outside: a"b is not the name of an interface, {NAME}',
    ),
    "interface that nft would take for a pattern": (
        changed("eth0", "eth*"),
        f"3:10: outside: eth* is not the name of an interface, {NAME}",
    ),
    "interface is a number": (
        changed("eth0", "7"),
        (
            '3:10: outside: 7 is not the name of an interface, "7" in quotes, if the interface has that name '
            "would be right"
        ),
    ),
    "one interface for both sides": (
        changed("inside: eth1", "inside: eth0"),
        "4:9: inside: eth0 is the outside interface too, the other interface would be right",
    ),
    "bridge missing": (
        changed("mode: routed", "mode: bridge"),
        "2:1: bridge: is missing, the bridge that has outside and inside as ports would be right",
    ),
    "bridge missing where the mode is the default": (
        changed("mode: routed\n", ""),
        "1:1: bridge: is missing, the bridge that has outside and inside as ports would be right",
    ),
    "bridge without use": (
        GOOD + "bridge: br0\n",
        "9:1: bridge: is of no use with mode: routed, no such key, or mode: bridge, would be right",
    ),
    # services
    "services missing": (
        changed("services:\n  web:\n    addresses: [192.0.2.1]\n    ports: [80]\n", ""),
        "1:1: services: is missing, at least one service would be right",
    ),
    "services without a value": (
        changed("  web:\n    addresses: [192.0.2.1]\n    ports: [80]\n", ""),
        "5:10: services: nothing is not a mapping, `key: value` lines below it would be right",
    ),
    "services empty": (
        changed("services:\n  web:\n    addresses: [192.0.2.1]\n    ports: [80]\n", "services: {}\n"),
        "5:11: services: is empty, at least one service would be right",
    ),
    "services as a list": (
        changed("  web:\n", "  - web:\n"),
        "6:3: services: a list is not a mapping, `key: value` lines below it would be right",
    ),
    "service without a value": (
        GOOD + "  ssh:\n",
        "9:7: services.ssh: nothing is not a mapping, `key: value` lines below it would be right",
    ),
    "service with an impossible name": (
        GOOD + "  a b: {addresses: [192.0.2.2], ports: [80]}\n",
        (
            "9:3: services.a b: a b is not a name for a service, up to 32 letters, digits, - and _, "
            "the first a letter or digit would be right"
        ),
    ),
    "addresses missing": (
        changed("    addresses: [192.0.2.1]\n", ""),
        (
            "6:3: services.web.addresses: is missing, a list of addresses, prefixes and ranges, for example "
            "[192.0.2.0/24] would be right"
        ),
    ),
    "addresses not a list": (
        changed("[192.0.2.1]", "192.0.2.1"),
        "7:16: services.web.addresses: 192.0.2.1 is not a list, [192.0.2.1] would be right",
    ),
    "addresses empty": (
        changed("[192.0.2.1]", "[]"),
        "7:16: services.web.addresses: is an empty list, at least one entry would be right",
    ),
    "address out of range": (
        changed("192.0.2.1", "300.0.2.1"),
        f"7:17: services.web.addresses[0]: 300.0.2.1 is not an address, {ADDRESSES}",
    ),
    "address is a name": (
        changed("192.0.2.1", "www.example.org"),
        f"7:17: services.web.addresses[0]: www.example.org is not an address, {ADDRESSES}",
    ),
    "address with leading zeros": (
        changed("192.0.2.1", "192.0.02.1"),
        f"7:17: services.web.addresses[0]: 192.0.02.1 is not an address, {ADDRESSES}",
    ),
    "address is a number": (
        changed("192.0.2.1", "192"),
        (
            "7:17: services.web.addresses[0]: 192 is not an address, an address like 192.0.2.1 or 2001:db8::1 "
            "would be right"
        ),
    ),
    "address with a port": (
        changed("192.0.2.1", "192.0.2.1:80"),
        f"7:17: services.web.addresses[0]: 192.0.2.1:80 is not an address, {ADDRESSES}",
    ),
    "address with a zone": (
        changed("192.0.2.1", "fe80::1%eth0"),
        "7:17: services.web.addresses[0]: fe80::1%eth0 has a zone, the address without % would be right",
    ),
    "address read as a mapping": (
        changed("[192.0.2.1]", "[2001:db8: 1]"),
        (
            "7:17: services.web.addresses[0]: a mapping is not an address, an address like 192.0.2.1 or "
            "2001:db8::1, in quotes would be right"
        ),
    ),
    "prefix with host bits": (
        changed("192.0.2.1", "192.0.2.1/24"),
        (
            "7:17: services.web.addresses[0]: 192.0.2.1/24 has bits set behind its prefix, 192.0.2.0/24 or "
            "192.0.2.1 would be right"
        ),
    ),
    "prefix too long": (
        changed("192.0.2.1", "192.0.2.0/33"),
        (
            "7:17: services.web.addresses[0]: 192.0.2.0/33 has no valid prefix length, /0 to /32 after the "
            "address would be right"
        ),
    ),
    "prefix too long in IPv6": (
        changed("192.0.2.1", "2001:db8::/129"),
        (
            "7:17: services.web.addresses[0]: 2001:db8::/129 has no valid prefix length, /0 to /128 after the "
            "address would be right"
        ),
    ),
    "prefix with a netmask": (
        changed("192.0.2.1", "192.0.2.0/255.255.255.0"),
        (
            "7:17: services.web.addresses[0]: 192.0.2.0/255.255.255.0 has no valid prefix length, /0 to /32 "
            "after the address would be right"
        ),
    ),
    "range backwards": (
        changed("192.0.2.1", "192.0.2.9-192.0.2.1"),
        "7:17: services.web.addresses[0]: 192.0.2.9-192.0.2.1 runs backwards, 192.0.2.1-192.0.2.9 would be right",
    ),
    "range of two families": (
        changed("192.0.2.1", "192.0.2.1-2001:db8::1"),
        (
            "7:17: services.web.addresses[0]: 192.0.2.1-2001:db8::1 mixes IPv4 and IPv6, a range for each of "
            "them would be right"
        ),
    ),
    "range with one end": (
        changed("192.0.2.1", "192.0.2.1-"),
        f"7:17: services.web.addresses[0]: nothing is not an address (in 192.0.2.1-), {ADDRESSES}",
    ),
    "range with a short end": (
        changed("192.0.2.1", "192.0.2.1-9"),
        f"7:17: services.web.addresses[0]: 9 is not an address (in 192.0.2.1-9), {ADDRESSES}",
    ),
    "multicast": (
        changed("192.0.2.1", "224.0.0.0/8"),
        (
            "7:17: services.web.addresses[0]: 224.0.0.0/8 is multicast, no host on a wire has it, an address of "
            "a host would be right"
        ),
    ),
    "loopback": (
        changed("192.0.2.1", "127.0.0.1"),
        (
            "7:17: services.web.addresses[0]: 127.0.0.1 is loopback, no host on a wire has it, an address of "
            "a host would be right"
        ),
    ),
    "unspecified": (
        changed("192.0.2.1", '"::"'),
        (
            "7:17: services.web.addresses[0]: :: is unspecified, no host on a wire has it, an address of a host "
            "would be right"
        ),
    ),
    "IPv4 inside IPv6": (
        changed("192.0.2.1", '"::ffff:192.0.2.1"'),
        (
            "7:17: services.web.addresses[0]: ::ffff:192.0.2.1 is an IPv4 address inside IPv6, the IPv4 address "
            "alone would be right"
        ),
    ),
    "ports missing": (
        changed("    ports: [80]\n", ""),
        (
            "6:3: services.web.ports: is missing, a list of ports and ranges, for example [80, 8000-8100], or "
            "all would be right"
        ),
    ),
    "one port, not a list": (
        changed("[80]", "80"),
        "8:12: services.web.ports: 80 is not a list, [80], or all would be right",
    ),
    "ports empty": (
        changed("[80]", "[]"),
        "8:12: services.web.ports: is an empty list, at least one entry would be right",
    ),
    "port 0": (changed("[80]", "[0]"), f"8:13: services.web.ports[0]: 0 is not a port, {PORTS}"),
    "port too large": (
        changed("[80]", "[80, 65536]"),
        f"8:17: services.web.ports[1]: 65536 is not a port, {PORTS}",
    ),
    "port negative": (changed("[80]", "[-1]"), f"8:13: services.web.ports[0]: -1 is not a port, {PORTS}"),
    "port by name": (changed("[80]", "[http]"), f"8:13: services.web.ports[0]: http is not a port, {PORTS}"),
    "port as a boolean": (
        changed("[80]", "[true]"),
        f"8:13: services.web.ports[0]: true is not a port, {PORTS}",
    ),
    "port with a fraction": (
        changed("[80]", "[80.0]"),
        f"8:13: services.web.ports[0]: 80.0 is not a port, {PORTS}",
    ),
    "port range backwards": (
        changed("[80]", "[8100-8000]"),
        "8:13: services.web.ports[0]: 8100-8000 runs backwards, 8000-8100 would be right",
    ),
    "port range too large": (
        changed("[80]", "[8000-80000]"),
        f"8:13: services.web.ports[0]: 8000-80000 leaves the range of ports, {PORTS}",
    ),
    "port range with one end": (
        changed("[80]", "[8000-]"),
        f"8:13: services.web.ports[0]: 8000- is not a port, {PORTS}",
    ),
    "ports as a word": (
        changed("[80]", "any"),
        f"8:12: services.web.ports: any is not a port, {PORTS}",
    ),
    "vlan in routed mode": (
        GOOD + "    vlan: 10\n",
        (
            "9:5: services.web.vlan: is of no use with mode: routed, where the VLAN interface takes the tag off, "
            "its name as outside or inside would be right"
        ),
    ),
    "protect unknown": (
        GOOD + "    protect: sometimes\n",
        "9:14: services.web.protect: sometimes is not one of the choices, always, auto or off would be right",
    ),
    "low mark above the high one": (
        GOOD + "    attack: {low_syns_per_s: 2000}\n",
        (
            "9:13: services.web.attack: low_syns_per_s (2000) is more than high_syns_per_s (1000), "
            "a low mark below the high one would be right"
        ),
    ),
    "share above all": (
        GOOD + "    attack: {high_unfinished_percent: 101}\n",
        "9:39: services.web.attack.high_unfinished_percent: 101 is out of bounds, 1 to 100 would be right",
    ),
    "hook by a relative path": (
        GOOD + "on_attack: {command: hook.sh}\n",
        (
            "9:22: on_attack.command: hook.sh is not an absolute path, "
            "a path that begins with / and has no .. would be right"
        ),
    ),
    "protect as a boolean": (
        GOOD + "    protect: true\n",
        "9:14: services.web.protect: true is not one of the choices, always, auto or off would be right",
    ),
    "window unknown": (
        GOOD + "    window: 0\n",
        "9:13: services.web.window: 0 is not one of the choices, real or zero would be right",
    ),
    "trap without a unit": (
        GOOD + "    trap: 3600\n",
        "9:11: services.web.trap: 3600 is not a time, a number and s, m, h or d, 1s to 30d would be right",
    ),
    "trap for too long": (
        GOOD + "    trap: 31d\n",
        "9:11: services.web.trap: 31d is out of bounds, 1s to 30d would be right",
    ),
    "trap that is off": (
        GOOD + "    protect: off\n    trap: 1h\n",
        (
            "10:5: services.web.trap: catches nobody with protect: off, where handshakes are not seen to their end, "
            "protect: always would be right"
        ),
    ),
    "signed unknown": (
        GOOD + "    signed: yes\n",
        "9:13: services.web.signed: yes is not one of the choices, drop or pass would be right",
    ),
    "limit of nothing": (
        GOOD + "    per_source: {open: 0}\n",
        "9:24: services.web.per_source.open: 0 is out of bounds, 1 to 16777216 would be right",
    ),
    "limit with another answer": (
        GOOD + "    per_source: {open: 5, over: reject}\n",
        "9:33: services.web.per_source.over: reject is not one of the choices, drop, reset or block would be right",
    ),
    "limit of a prefix too long": (
        GOOD + "    per_source: {open: 5, prefix_ipv4: 64}\n",
        "9:40: services.web.per_source.prefix_ipv4: 64 is out of bounds, 1 to 32 would be right",
    ),
    "limit of a service that is off": (
        GOOD + "    protect: off\n    per_source: {open: 5}\n",
        "10:5: services.web.per_source: limits nobody with protect: off, no such key would be right",
    ),
    "limit of a trap": (
        GOOD + "    trap: 1h\n    per_source: {open: 5}\n",
        "10:5: services.web.per_source: limits nobody with a trap, which serves nobody, no such key would be right",
    ),
    "log without a rate": (
        GOOD + "    log: {refused: 10}\n",
        (
            "9:20: services.web.log.refused: 10 is not a rate, "
            "a number, / and s, min or h, for example 10/min would be right"
        ),
    ),
    "log by the day": (
        GOOD + "    log: {opened: 10/d}\n",
        (
            "9:19: services.web.log.opened: 10/d is not a rate, "
            "a number, / and s, min or h, for example 10/min would be right"
        ),
    ),
    "log of nothing": (
        GOOD + "    log: {refused: 0/s}\n",
        (
            "9:20: services.web.log.refused: 0/s is not a rate, "
            "a number, / and s, min or h, for example 10/min would be right"
        ),
    ),
    "log that fills the disk": (
        GOOD + "    log: {refused: 6001/min}\n",
        "9:20: services.web.log.refused: 6001/min is out of bounds, at most 6000/min would be right",
    ),
    "log that is a rate": (
        GOOD + "    log: 10/min\n",
        "9:10: services.web.log: 10/min is not a mapping, `key: value` lines below it would be right",
    ),
    "log of a service that is off": (
        GOOD + "    protect: off\n    log: {refused: 10/s}\n",
        (
            "10:5: services.web.log: is of no use with protect: off, where the box looks at no packet, "
            "protect: always, or auto, would be right"
        ),
    ),
    "log of what a trap opens": (
        GOOD + "    trap: 1h\n    log: {opened: 10/s}\n",
        (
            "10:11: services.web.log.opened: is of no use with trap, where no connection is opened, "
            "refused, which has a line for each who is caught, would be right"
        ),
    ),
    "forwarded to nothing": (
        GOOD + "    forward_to: {}\n",
        "9:5: services.web.forward_to.port: is missing, port: the one its servers listen on would be right",
    ),
    "forwarded to its own port": (
        GOOD + "    forward_to: {port: 80}\n",
        "9:24: services.web.forward_to.port: is the service's own port, another one would be right",
    ),
    "forwarded to many addresses": (
        GOOD + "    forward_to: {port: 81, address: 192.0.2.0/24}\n",
        (
            "9:37: services.web.forward_to.address: 192.0.2.0/24 is more than one address, "
            "one of them, as 192.0.2.0 would be right"
        ),
    ),
    "forwarded to another family": (
        GOOD + '    forward_to: {port: 81, address: "2001:db8::1"}\n',
        (
            "9:37: services.web.forward_to.address: 2001:db8::1 is not of the family of 192.0.2.1, "
            "an address of the same family would be right"
        ),
    ),
    "many ports forwarded to one": (
        GOOD.replace("[80]", "[80, 90]") + "    forward_to: {port: 81}\n",
        (
            "9:5: services.web.forward_to: asks for a service with a single port, since a server's answer has to lead "
            "back to it, a service for each port would be right"
        ),
    ),
    "many addresses forwarded to one": (
        GOOD.replace("[192.0.2.1]", "[192.0.2.0/24]") + "    forward_to: {port: 81, address: 192.0.2.1}\n",
        (
            "9:37: services.web.forward_to.address: asks for a service with a single address, since a server's answer "
            "has to lead back to it, a service for each address would be right"
        ),
    ),
    "forwarded to an address where nothing is routed": (
        GOOD.replace("routed", "bridge").replace("services:", "bridge: br0\nservices:")
        + "    forward_to: {port: 81, address: 192.0.2.9}\n",
        (
            "10:37: services.web.forward_to.address: is of no use with mode: bridge, which does not route, "
            "mode: routed would be right"
        ),
    ),
    "forwarded without protection": (
        GOOD + '    protect: "off"\n    forward_to: {port: 81}\n',
        "10:5: services.web.forward_to: is of no use with protect: off, protect: always, or auto, would be right",
    ),
    "forwarded trap": (
        GOOD + "    trap: 1h\n    forward_to: {port: 81}\n",
        "10:5: services.web.forward_to: is of no use with trap, where nobody is served, one of the two would be right",
    ),
    "forwarded fragments": (
        GOOD + "    fragments: pass\n    forward_to: {port: 81, address: 192.0.2.9}\n",
        (
            "9:5: services.web.fragments: is of no use with forward_to.address: later fragments do not say what they "
            "belong to, drop would be right"
        ),
    ),
    "forwarded to another service": (
        GOOD + "    forward_to: {port: 81}\n  other:\n    addresses: [192.0.2.0/30]\n    ports: [81-90]\n",
        (
            "11:17: services.other.addresses[0]: port 81 at 192.0.2.1 is in service web (line 9) too, "
            "one service for each address and port would be right"
        ),
    ),
    "forwarded with the bpf engine": (
        GOOD.replace("routed", "bridge").replace("services:", "bridge: br0\nengine: bpf\nservices:")
        + "    forward_to: {port: 81}\n",
        ("11:5: services.web.forward_to: is not for the bpf engine, engine: auto, or nfqueue, would be right"),
    ),
    "fragments unknown": (
        GOOD + "    fragments: accept\n",
        "9:16: services.web.fragments: accept is not one of the choices, drop or pass would be right",
    ),
    "mss too small": (
        GOOD + "    server: {mss: 10}\n",
        "9:19: services.web.server.mss: 10 is out of bounds, 88 to 65495 would be right",
    ),
    "window scale too large": (
        GOOD + "    server: {wscale: 15}\n",
        "9:22: services.web.server.wscale: 15 is not a window scale, 0 to 14, or none would be right",
    ),
    "a boolean of YAML 1.1": (
        GOOD + "    server: {sack: yes}\n",
        "9:20: services.web.server.sack: yes is not a boolean, true or false would be right",
    ),
    "a boolean in capitals": (
        GOOD + "    server: {sack: True}\n",
        "9:20: services.web.server.sack: True is not a boolean, true or false would be right",
    ),
    # exceptions
    "except not a list": (
        GOOD + "except: 192.0.2.0/24\n",
        "9:9: except: 192.0.2.0/24 is not a list, [192.0.2.0/24] would be right",
    ),
    "except without a value": (
        GOOD + "except:\n",
        "9:8: except: nothing is not a list, a list of them would be right",
    ),
    # numbers and sizes
    "flows too few": (
        GOOD + "limits: {flows: 1}\n",
        "9:17: limits.flows: 1 is out of bounds, 1024 to 16777216 would be right",
    ),
    "flows too many": (
        GOOD + "limits: {flows: 99999999}\n",
        "9:17: limits.flows: 99999999 is out of bounds, 1024 to 16777216 would be right",
    ),
    "a number that YAML 1.1 reads as octal": (
        GOOD + "limits: {flows: 0100000}\n",
        "9:17: limits.flows: 0100000 is not a whole number, 1024 to 16777216 would be right",
    ),
    "a number with underscores": (
        GOOD + "limits: {flows: 100_000}\n",
        "9:17: limits.flows: 100_000 is not a whole number, 1024 to 16777216 would be right",
    ),
    "a sexagesimal number": (
        GOOD + "limits: {flows: 1:30:00}\n",
        "9:17: limits.flows: 1:30:00 is not a whole number, 1024 to 16777216 would be right",
    ),
    "a hexadecimal number": (
        GOOD + "limits: {flows: 0x10000}\n",
        "9:17: limits.flows: 0x10000 is not a whole number, 1024 to 16777216 would be right",
    ),
    "a number of absurd length": (
        GOOD + f"limits: {{flows: {'9' * 5000}}}\n",
        f"9:17: limits.flows: {'9' * 57}... is not a whole number, 1024 to 16777216 would be right",
    ),
    "a size without a unit": (
        GOOD + "limits: {hold_per_flow: 65536}\n",
        "9:25: limits.hold_per_flow: 65536 has no unit, 64KiB, if bytes are meant would be right",
    ),
    "a size with a decimal unit": (
        GOOD + "limits: {hold_per_flow: 64kB}\n",
        "9:25: limits.hold_per_flow: 64kB is not a size, a number and B, KiB, MiB or GiB, 2KiB to 1MiB would be right",
    ),
    "a size too large": (
        GOOD + "limits: {hold_per_flow: 1GiB}\n",
        "9:25: limits.hold_per_flow: 1GiB is out of bounds, 2KiB to 1MiB would be right",
    ),
    "one flow may hold more than all": (
        GOOD + "limits: {hold_per_flow: 1MiB, hold_total: 64KiB}\n",
        (
            "9:9: limits: hold_per_flow (1MiB) is more than hold_total (64KiB), a total of many times the size "
            "per flow would be right"
        ),
    ),
    "queue number too large": (
        GOOD + "nfqueue: {first_queue: 65536}\n",
        "9:24: nfqueue.first_queue: 65536 is out of bounds, 0 to 65535 would be right",
    ),
    "queues leave the range": (
        GOOD + "nfqueue: {first_queue: 65535, queues: 2}\n",
        (
            "9:10: nfqueue: 2 pairs of queues from 65535 on leave the range 0 to 65535, first_queue: 65532 or less "
            "would be right"
        ),
    ),
    "no queue": (
        GOOD + "nfqueue: {queues: 0}\n",
        "9:19: nfqueue.queues: 0 is out of bounds, 1 to 64 would be right",
    ),
    "queue length": (
        GOOD + "nfqueue: {length: 1}\n",
        "9:19: nfqueue.length: 1 is out of bounds, 64 to 1048576 would be right",
    ),
    "fail policy": (
        GOOD + "nfqueue: {when_full: open}\n",
        "9:22: nfqueue.when_full: open is not one of the choices, drop or pass would be right",
    ),
    "heartbeat": (
        GOOD + "bpf: {heartbeat_late_ms: 1}\n",
        "9:26: bpf.heartbeat_late_ms: 1 is out of bounds, 100 to 60000 would be right",
    ),
    # paths
    "path relative": (
        GOOD + "state_dir: levee\n",
        "9:12: state_dir: levee is not an absolute path, a path that begins with / and has no .. would be right",
    ),
    "path that climbs": (
        GOOD + "state_dir: /var/../etc\n",
        "9:12: state_dir: /var/../etc is not an absolute path, a path that begins with / and has no .. would be right",
    ),
    "path too long for a socket": (
        GOOD + f"runtime_dir: /{'a' * 107}\n",
        f"9:14: runtime_dir: /{'a' * 56}... is too long to hold a socket, a path of at most 94 bytes would be right",
    ),
    "secret file relative": (
        GOOD + "cookie: {secret_file: secret}\n",
        (
            "9:23: cookie.secret_file: secret is not an absolute path, a path that begins with / and has no .. "
            "would be right"
        ),
    ),
    # the syntax
    "anchor": (
        changed("[80]", "&p [80]"),
        "8:12: services.web.ports: the anchor &p is not allowed, the value alone would be right",
    ),
    "alias": (
        GOOD + "  ssh: {addresses: [192.0.2.2], ports: *p}\n",
        "9:40: services.ssh.ports: the alias *p is not allowed, the value written out would be right",
    ),
    "tag": (
        changed("[80]", "[!!int 80]"),
        "8:13: services.web.ports[0]: the tag tag:yaml.org,2002:int is not allowed, the value alone would be right",
    ),
    "tab as indentation": (
        changed("    ports", "\tports"),
        (
            "8:1: configuration: is not valid YAML (found character that cannot start any token), spaces for "
            "indentation and quotes around special characters would be right"
        ),
    ),
    "indentation": (
        changed("    ports", "   ports"),
        (
            "8:4: configuration: is not valid YAML (did not find expected key), the indentation of the keys "
            "around it would be right"
        ),
    ),
    "list not closed": (
        changed("[80]", "[80"),
        (
            "9:1: configuration: is not valid YAML (did not find expected ',' or ']'), a comma or a closing bracket "
            "before this place would be right"
        ),
    ),
    "brace not closed": (
        GOOD + "limits: {flows: 4096\nexcept: []\n",
        (
            "10:7: configuration: is not valid YAML (did not find expected ',' or '}'), a comma or a closing brace "
            "before this place would be right"
        ),
    ),
    "quote not closed": (
        changed("eth0", '"eth0'),
        "9:1: configuration: is not valid YAML (found unexpected end of stream), a closing quote would be right",
    ),
    "second document": (
        GOOD + "---\nversion: 1\n",
        "9:1: configuration: a second document begins here, one document in the file would be right",
    ),
    "mapping as a key": (
        GOOD + "? {a: b}\n: c\n",
        "9:3: configuration: has a list or mapping as a key, a name as the key, and quotes around text would be right",
    ),
    "too deep": (
        GOOD + f"limits: {'[' * 100}{']' * 100}\n",
        "9:25: limits[0][0]: is nested deeper than 16 levels, a flat value would be right",
    ),
    "control character": (
        GOOD + "# bell \a\n",
        "9:8: configuration: holds the control character '\\x07', plain text would be right",
    ),
    "empty file": (
        "",
        "1:1: configuration: is empty, `version: 1` and what follows would be right",
    ),
    "only a comment": (
        "# nothing\n",
        "1:1: configuration: is empty, `version: 1` and what follows would be right",
    ),
    "a list": (
        "- a\n",
        "1:1: configuration: is a list, not keys and values, `version: 1` and what follows would be right",
    ),
    "text": (
        "levee\n",
        "1:1: configuration: is levee, not keys and values, `version: 1` and what follows would be right",
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_mistake_gives_its_line(name: str) -> None:
    text, expected = SINGLE[name]
    assert mistakes(text) == [expected]


def test_the_unchanged_file_is_valid() -> None:
    assert loads(GOOD.encode(), "levee.yaml").mode == "routed"


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = """\
        version: 1
        mode: routed
        outside: eth0
        inside: eth0
        services:
          web:
            addresses: [192.0.2.0/24, 192.0.2.256]
            prots: [80]
            ports: [80, 0]
            protect: always
            protect: off
          mail:
            addresses: [198.51.100.0/24]
            ports: [25, 80]
          news:
            addresses: [203.0.113.9, 198.51.100.25]
            ports: [80-119]
        limits: {flows: 010, flow: 1}
        """
    assert mistakes(text) == [
        "4:9: inside: eth0 is the outside interface too, the other interface would be right",
        f"7:31: services.web.addresses[1]: 192.0.2.256 is not an address, {ADDRESSES}",
        "8:5: services.web.prots: is not a known key, ports would be right",
        f"9:17: services.web.ports[1]: 0 is not a port, {PORTS}",
        "11:5: services.web.protect: is given twice (first in line 10), one of them would be right",
        (
            "16:30: services.news.addresses[1]: port 80 at 198.51.100.25 is in service mail (line 13) too, "
            "one service for each address and port would be right"
        ),
        "18:17: limits.flows: 010 is not a whole number, 1024 to 16777216 would be right",
        "18:22: limits.flow: is not a known key, flows would be right",
    ]


def two(first: str, second: str) -> str:
    """A bridge with two services, each given in braces."""
    head = "version: 1\nmode: bridge\nbridge: br0\noutside: eth0\ninside: eth1\nservices:\n"
    return f"{head}  one: {{{first}}}\n  two: {{{second}}}\n"


OVERLAPS = {
    "the same address": (
        "addresses: [192.0.2.1], ports: [80]",
        "addresses: [192.0.2.1], ports: [80]",
        "8:21: services.two.addresses[0]: port 80 at 192.0.2.1 is in service one (line 7) too",
    ),
    "a prefix in a prefix, the second first": (
        "addresses: [192.0.2.128/25], ports: [443]",
        "addresses: [192.0.2.0/24], ports: all",
        "8:21: services.two.addresses[0]: port 443 at 192.0.2.128/25 is in service one (line 7) too",
    ),
    "ranges that touch in one address": (
        'addresses: ["2001:db8::1-2001:db8::9"], ports: [1-100]',
        'addresses: ["2001:db8::9-2001:db8::ff"], ports: [100-200]',
        "8:21: services.two.addresses[0]: port 100 at 2001:db8::9 is in service one (line 7) too",
    ),
    "untagged and any tag against one tag": (
        "addresses: [192.0.2.1], ports: [80]",
        "addresses: [192.0.2.1], ports: [80], vlan: 10",
        "8:21: services.two.addresses[0]: port 80 at 192.0.2.1 is in service one (line 7) too",
    ),
    "a tag in both lists": (
        "addresses: [192.0.2.1], ports: [80], vlan: [10, 20]",
        "addresses: [192.0.2.1], ports: [80], vlan: [20, 30]",
        "8:21: services.two.addresses[0]: port 80 at 192.0.2.1 is in service one (line 7) too",
    ),
    "once for two services, however often they overlap": (
        "addresses: [192.0.2.1, 192.0.2.3], ports: [80, 443]",
        "addresses: [192.0.2.3, 192.0.2.1], ports: [80, 443]",
        "8:32: services.two.addresses[1]: port 80 at 192.0.2.1 is in service one (line 7) too",
    ),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_services_must_not_overlap(name: str) -> None:
    first, second, expected = OVERLAPS[name]
    assert mistakes(two(first, second)) == [f"{expected}, one service for each address and port would be right"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("addresses: [192.0.2.1], ports: [80]", "addresses: [192.0.2.1], ports: [81]"),
        ("addresses: [192.0.2.0/25], ports: all", "addresses: [192.0.2.128/25], ports: all"),
        ("addresses: [192.0.2.1], ports: all, vlan: 10", "addresses: [192.0.2.1], ports: all, vlan: [11, 12]"),
        ("addresses: [0.0.0.0/0], ports: all", 'addresses: ["::/0"], ports: all'),
    ],
)
def test_neighbours_do_not_overlap(first: str, second: str) -> None:
    assert list(loads(two(first, second).encode(), "levee.yaml").services) == ["one", "two"]


def test_a_service_may_name_an_address_twice() -> None:
    config = loads(changed("[192.0.2.1]", "[192.0.2.1, 192.0.2.0/24]").encode(), "levee.yaml")
    assert len(config.services["web"].addresses) == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"version: 1\nmode: \xe9\n", "2:7: configuration: is not UTF-8 text (byte 0xe9)"),
        ("version: 1\n".encode("utf-16"), "1:1: configuration: is not UTF-8 text (byte 0xff)"),
        (b"#" * ((4 << 20) + 1), "1:1: configuration: is larger than 4 MiB"),
    ],
)
def test_bytes_that_are_not_text(data: bytes, expected: str) -> None:
    (line,) = mistakes(data)
    assert line.startswith(expected)


def test_columns_count_characters() -> None:
    assert mistakes(GOOD + 'äöü: "→"\nlimits: {"→": 1}\n')[1].startswith("10:10: limits.→: is not a known key")


def test_byte_order_mark_and_carriage_returns_are_taken() -> None:
    assert loads(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode(), "levee.yaml").outside == "eth0"
