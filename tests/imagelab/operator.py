"""The operator on the serial line: logged in by the box itself, waiting for the daemon.

Owns what the login looks like and how long an emulated boot may take. Called by the tests.
"""

from __future__ import annotations

from netlab.session import wait_until

from imagelab.machine import Machine, MachineError

# Emulated, on cores that others use too: a boot that takes half a minute alone may take ten.
BOOT_S = 900.0
READY_S = 600.0
LOGIN = r"operator@levee:~\$ "
# levee.yaml, as an operator puts it on the stick.
PROTECTED = """\
version: 1
mode: bridge
engine: {engine}
bridge: br0
outside: outside
inside: inside
services:
  everything: {{addresses: [0.0.0.0/0, "::/0"], ports: all}}
control: {{changers: levee-admin}}
"""


def logged_in(machine: Machine) -> None:
    """Waits for the login of this boot."""
    machine.expect(LOGIN, BOOT_S)
    machine.plain_shell()


def until_ready(machine: Machine) -> None:
    """Until the operator is logged in and the daemon answers."""
    logged_in(machine)
    # First a look that costs nothing: starting Python again and again would slow down what is waited for.
    machine.run("for _ in $(seq 600); do [ -S /run/levee/control.sock ] && break; sleep 1; done", READY_S + 60)
    # 2 is degraded, as a box is whose links came up a moment ago.
    if not wait_until(lambda: machine.run("levee status >/dev/null 2>&1", READY_S)[0] in (0, 1, 2), READY_S):
        said = machine.run("journalctl --no-pager -b -u levee -u levee-stick -u levee-ports -n 30", READY_S)[1]
        raise MachineError(f"levee does not answer:\n{said}")
