"""What the bootable appliance is asked to do beside its daemon, by somebody who is not root: address, keys, power.

Owns the door: a file for each request in a folder that the box watches (levee-asked.path), and root's answer in another
one. Called by commands/box.py and the terminal interface; answered by the image's chassis/asked.py, which judges all of
it. Raises OperatorError, ConfigError for mistakes in box.yaml. Must not know what a request means.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from appliance import durable
from appliance.errors import ConfigError, OperatorError, Problem

RUN = Path("/run/levee-box")
STATE = Path("/var/lib/levee-box")
SUFFIX, ANSWER = ".ask", ".answer"
SETTINGS, KEYS, TRIAL = "box.yaml", "authorized_keys", "trial"
EMPTY_SETTINGS = "version: 1\n"  # of a box as delivered
ANSWER_S, SLOW_ANSWER_S = 60.0, 600.0  # a small or emulated machine takes its time
POLL_S = 0.1


class Requests:
    """The box's folders. Nothing is kept between two requests."""

    def __init__(self, run: Path = RUN, state: Path = STATE) -> None:
        self._asked, self._answers = run / "requests", run / "answers"
        self._state = state

    def here(self) -> bool:
        """Whether this is the bootable appliance, started with what answers."""
        return self._answers.is_dir()

    def settings(self) -> str:
        """box.yaml as it was kept last, without a change that is on trial."""
        return self._text(SETTINGS) or EMPTY_SETTINGS

    def ssh_keys(self) -> list[str]:
        """The public SSH keys, a line each."""
        return [one.strip() for one in self._text(KEYS).splitlines() if one.strip() and not one.startswith("#")]

    def trial_left_s(self) -> int | None:
        """How long what is on trial still is; None: nothing is."""
        try:
            over_s = float((self._answers / TRIAL).read_text())
        except FileNotFoundError:
            return None
        return max(0, round(over_s - time.monotonic()))

    def _text(self, name: str) -> str:
        try:
            return (self._state / name).read_text()
        except FileNotFoundError:
            return ""

    def restart(self) -> None:
        """The box, at once."""
        self.must_be_here()
        try:
            (self._asked / "restart").touch()
        except OSError as error:
            raise _refused(error) from error

    def ask(self, what: str, text: str = "", limit_s: float = ANSWER_S) -> str:
        """Does it; what the box has to say of it. Raises ConfigError or OperatorError, and nothing has changed then."""
        self.must_be_here()
        number = secrets.token_hex(8)
        file = self._asked / f"{what}{SUFFIX}"
        try:
            durable.replace(file, json.dumps({"id": number, "text": text}).encode(), mode=0o640)
        except OSError as error:
            raise _refused(error) from error
        over_s = time.monotonic() + limit_s
        while time.monotonic() < over_s:
            found = self._answer(what)
            if found.get("id") == number:
                return _said(found)
            time.sleep(POLL_S)
        file.unlink(missing_ok=True)  # nobody has taken it
        raise OperatorError(f"the box has not answered in {limit_s:g} s", "why: journalctl -u levee-asked")

    def _answer(self, what: str) -> dict[str, Any]:
        try:
            found = json.loads((self._answers / f"{what}{ANSWER}").read_bytes())
        except FileNotFoundError:
            return {}
        return found if isinstance(found, dict) else {}

    def must_be_here(self) -> None:
        """Raises OperatorError on any other machine."""
        if not self.here():
            hint = "address, keys, time and power of an installed system are changed with its own means, as root"
            raise OperatorError("this is not the bootable appliance; nothing was changed", hint)


def _refused(error: OSError) -> OperatorError:
    said = os.strerror(error.errno or 0)
    return OperatorError(f"the box cannot be asked: {said}", "members of levee-admin may, as operator is")


def _said(answer: dict[str, Any]) -> str:
    if answer.get("problems"):
        raise ConfigError(SETTINGS, [Problem(**one) for one in answer["problems"]])
    if answer.get("error"):
        raise OperatorError(str(answer["error"]), str(answer.get("hint", "")))
    return str(answer.get("said", ""))
