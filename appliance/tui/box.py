"""The box, as the interface sees it: the calls of its control socket by name.

Owns nothing but the names. Called from threads of the interface, one call after the other; each may take seconds.
Raises OperatorError. What the replies look like is described in org.levee.varlink.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from appliance import client
from appliance.changing import for_user
from appliance.errors import OperatorError
from appliance.requests import SLOW_ANSWER_S, Requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.report import StatusReport

Reply = dict[str, Any]
FRAME_BYTES = 160  # of a captured packet: enough for its headers


class Box:
    """One control socket. Nothing is kept between two calls, so a daemon may come and go."""

    def __init__(self, socket: Path, requests: Requests | None = None) -> None:
        self.socket = socket
        self._requests = requests or Requests()

    def clock_s(self) -> float:
        """When a reply came; seconds that only go forward."""
        return time.monotonic()

    def status(self) -> StatusReport:
        """What the banner and most pages show."""
        return cast("StatusReport", self._ask("Status"))

    def reasons(self) -> dict[str, str]:
        """Why packets are not forwarded."""
        return cast("dict[str, str]", self._ask("Reasons")["reasons"])

    def events(self) -> list[Reply]:
        """The attacks there were, oldest first."""
        return cast("list[Reply]", self._ask("Events")["events"])

    def backends(self) -> list[Reply]:
        """Servers that were heard."""
        return cast("list[Reply]", self._ask("Backends")["backends"])

    def blocked(self) -> list[Reply]:
        """Sources that are blocked or allowed."""
        return cast("list[Reply]", self._ask("BlockList")["entries"])

    def flows(self, most: int, client_addresses: str, service: str) -> list[Reply]:
        """The first `most` connections that fit; an empty text fits all."""
        asked: dict[str, object] = {}
        asked |= {"client": client_addresses} if client_addresses else {}
        asked |= {"service": service} if service else {}
        found: list[Reply] = []
        cursor: object = 0
        while cursor is not None and len(found) < most:
            reply = self._ask("Flows", {**asked, "cursor": cursor})
            found += reply["flows"]
            cursor = reply.get("cursor")
        return found[:most]

    def history(self) -> Reply:
        """What was in force, oldest first."""
        return self._ask("History")

    def configuration(self, of: str) -> str:
        """The text of `file`, `running` or an entry."""
        return str(self._ask("Configuration", {"of": of})["text"])

    def check(self, text: str) -> Reply:
        """Its mistakes, and what would be made anew."""
        return self._change("Check", {"text": text})

    def apply(self, text: str, confirm_s: int, comment: str) -> Reply:
        """Puts it in force on trial."""
        parameters = {"text": text, "confirm_s": confirm_s, "comment": comment, "for_user": for_user()}
        return self._change("Apply", parameters)

    def confirm(self) -> Reply:
        """What is on trial stays."""
        return self._change("Confirm", {})

    def rollback(self, number: int | None, confirm_s: int) -> Reply:
        """Takes back what is on trial, or goes back to an entry."""
        return self._change("Rollback", {"number": number, "confirm_s": confirm_s, "for_user": for_user()})

    def bypass(self, *, on: bool) -> Reply:
        """Nobody is protected, or as configured."""
        return self._change("Bypass", {"on": on})

    def block(self, prefix: str, for_s: int, comment: str, *, allow: bool = False) -> Reply:
        """for_s: seconds, 0 for good."""
        parameters = {"prefixes": [prefix], "for_s": for_s, "comment": comment, "allow": allow}
        return self._change("BlockAdd", parameters)

    def unblock(self, prefix: str) -> Reply:
        """Takes the entry out."""
        return self._change("BlockDelete", {"prefixes": [prefix]})

    def machine(self) -> Reply:
        """Its ports, and whether it is the bootable appliance."""
        return self._ask("Machine")

    def blink(self, port: str) -> Reply:
        """Its LED, for a while."""
        return self._change("Blink", {"port": port})

    def proposals(self) -> list[Reply]:
        """Servers that were heard, as services."""
        return cast("list[Reply]", self._ask("Proposals")["proposals"])

    def propose(self, wanted: Sequence[Mapping[str, Any]]) -> Reply:
        """What is to be written for them."""
        return self._ask("Propose", {"wanted": [dict(one) for one in wanted]})

    def backup(self, *, without_secret: bool) -> bytes:
        """What `levee backup` writes."""
        reply = self._change("Backup", {"without_secret": without_secret})
        return base64.b64decode(str(reply["data"]))

    def capture(self, address: str, service: str, reasons: str, seconds: int) -> int:
        """Begins one; its number. An empty text fits all. It ends by itself when its packets are not taken."""
        asked: dict[str, object] = {"seconds": seconds, "bytes_each": FRAME_BYTES}
        asked |= {"address": address} if address else {}
        asked |= {"service": service} if service else {}
        asked |= {"reasons": reasons.replace(" ", "")} if reasons else {}
        return int(self._ask("Capture", asked)["capture"])

    def capture_take(self, number: int) -> Reply:
        """What came since the last time."""
        return self._ask("CaptureTake", {"capture": number})

    def capture_end(self, number: int) -> None:
        """No more of it."""
        self._ask("CaptureEnd", {"capture": number})

    def itself(self) -> Reply:
        """The box beside its daemon; `here`: whether this is the bootable appliance."""
        asked = self._requests
        keys, left_s = asked.ssh_keys(), asked.trial_left_s()
        return {"here": asked.here(), "settings": asked.settings(), "keys": keys, "left_s": left_s}

    def ask_box(self, what: str, text: str = "") -> str:
        """What `levee box` does."""
        return self._requests.ask(what, text)

    def restore(self, backup: bytes) -> str:
        """What `levee box restore` does."""
        return self._requests.ask("restore", base64.b64encode(backup).decode(), SLOW_ANSWER_S)

    def restart(self) -> str:
        """The whole box."""
        self._requests.restart()
        return "the box restarts now"

    def command(self, *words: str) -> str:
        """What a `levee` command prints; it lies beside the Python that runs this."""
        argv = [str(Path(sys.executable).with_name("levee")), *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said, _, hint = done.stderr.strip().partition("\nlevee: hint: ")
            raise OperatorError(said.removeprefix("levee: error: "), hint)
        return done.stdout.strip()

    def _ask(self, method: str, parameters: dict[str, object] | None = None) -> Reply:
        return client.call(self.socket, f"org.levee.{method}", parameters)

    def _change(self, method: str, parameters: dict[str, object]) -> Reply:
        return client.call(self.socket, f"org.levee.{method}", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
