"""The services of the lab's appliance, changed while it runs: by its file and a signal, or by a call.

Called by tests of reload and rollback. Must not know what is sent through the box meanwhile.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from appliance import changing, client
from netlab.session import Lab, wait_until


class Services:
    """The running daemon's configuration file, and a way to change it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.path = lab.names.lab_dir / "levee.yaml"
        self.original = self.path.read_text()

    def services(self) -> dict[str, Any]:
        """As the daemon tells them, asked over its socket: starting `levee status` takes longer."""
        status: dict[str, Any] = client.call(self.lab.names.socket, "org.levee.Status")
        services: dict[str, Any] = status["services"]
        return services

    def change(self, text: str, *, until: Callable[[], bool]) -> None:
        self.path.write_text(text)
        self.lab.process.signal(signal.SIGHUP)
        assert wait_until(until), "the change did not come into force"

    def ask(self, method: str, **parameters: object) -> None:
        """A change, as `levee apply` and `levee rollback` ask for it, until it is made."""
        reply = client.call(self.lab.names.socket, f"org.levee.{method}", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
        changing.told(self.lab.names.socket, reply)

    def switch_off(self) -> None:
        """`protect: off` for the service that protected everything."""
        text = self.original.replace("    ports: all\n", '    ports: all\n    protect: "off"\n', 1)
        self.change(text, until=lambda: self.services()["lab"]["protect"] == "off")

    def give(self, *options: str) -> None:
        """The service that protects everything, with these further lines. Waits until they are in force."""
        log, lines = self.lab.appliance.log, "".join(f"    {option}\n" for option in options)
        seen = log.read_text().count("reloaded: ")
        text = self.original.replace("    ports: all\n", f"    ports: all\n{lines}", 1)
        self.change(text, until=lambda: log.read_text().count("reloaded: ") > seen)

    def rename(self) -> None:
        """To the daemon: one service is gone, another one is there."""
        text = self.original.replace("  lab:\n", "  renamed:\n")
        self.change(text, until=lambda: "renamed" in self.services())

    def remove(self) -> None:
        """Another address only: nothing is left that the open connections belong to."""
        head = self.original[: self.original.index("services:\n")]
        text = f"{head}services:\n  other: {{addresses: [203.0.113.1], ports: [9]}}\n"
        self.change(text, until=lambda: list(self.services()) == ["other"])

    def restore(self) -> None:
        def restored() -> bool:
            services = self.services()
            return "lab" in services and services["lab"]["protect"] == "always"

        self.change(self.original, until=restored)
