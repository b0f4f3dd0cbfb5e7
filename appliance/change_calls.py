"""The calls that change the configuration, and those that show what it was: from the wire to changes.py and back.

Owns the reading of their parameters and the shape of their replies (org.levee.varlink describes it). Put into the table
of daemon.py. Must not know how a change is made.
"""

from collections.abc import Mapping
from dataclasses import asdict

from appliance import config as configuration
from appliance.changes import Applied, Changes, Request
from appliance.errors import ConfigError, OperatorError, Problem
from appliance.report import ConfigurationReport, PendingReport
from appliance.roles import Role
from appliance.varlink import Call, Method, Parameters

MAX_CONFIRM_S = 24 * 3600
MAX_COMMENT_CHARACTERS = 200
MAX_USER_CHARACTERS = 64


def _line(call: Call, name: str, most: int) -> str:
    """A text that is shown in other terminals: one line, nothing a terminal would act on."""
    text = call.text(name, "", most=most)
    if not text.isprintable():
        raise OperatorError(f"{name} holds control characters", "plain text on one line would be right")
    return text


def _request(call: Call, default_confirm_s: int) -> Request:
    user = call.caller.user
    if behind := _line(call, "for_user", MAX_USER_CHARACTERS):
        user = f"{user} for {behind}"
    confirm_s = call.whole("confirm_s", default_confirm_s, low=0, high=MAX_CONFIRM_S)
    return Request(user, _line(call, "comment", MAX_COMMENT_CHARACTERS), confirm_s)


def pending_report(changes: Changes) -> PendingReport | None:
    """What is on trial, as in Status and History."""
    pending = changes.pending
    if pending is None:
        return None
    left_s = round(pending.left_s())
    return {"number": pending.number, "back_to": pending.back_to, "user": pending.user, "left_s": left_s}


def configuration_report(changes: Changes) -> ConfigurationReport:
    """What is in force, as in Status."""
    return {
        "number": changes.number,
        "edited": changes.edited,
        "restarting": changes.next is not None,
        "pending": pending_report(changes),
    }


def _applied(applied: Applied) -> Parameters:
    return {"number": applied.number, "restarts": list(applied.restarts), "set_aside": applied.set_aside}


def problem_report(problem: Problem) -> Parameters:
    """A mistake and its place, as in Check."""
    return asdict(problem)


class ChangeCalls:
    """The methods around one Changes."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def methods(self) -> Mapping[str, Method]:
        """Their part of the table. All of them wait for the disk, most of them for nft."""
        return {
            "Apply": Method(self._apply, Role.CHANGER, slow=True),
            "Confirm": Method(self._confirm, Role.CHANGER, slow=True),
            "Rollback": Method(self._rollback, Role.CHANGER, slow=True),
            "Check": Method(self._check, Role.CHANGER, slow=True),
            "History": Method(self._history, slow=True),
            "Configuration": Method(self._configuration, slow=True),
        }

    def _apply(self, call: Call) -> Parameters:
        text = call.text("text", "", most=configuration.MAX_FILE_BYTES)
        return _applied(self._changes.apply(text.encode("utf-8") if text else None, _request(call, 120)))

    def _check(self, call: Call) -> Parameters:
        text = call.text("text", most=configuration.MAX_FILE_BYTES)
        try:
            return {"problems": [], "restarts": self._changes.restarts_for(text.encode("utf-8"))}
        except ConfigError as error:
            return {"problems": [problem_report(one) for one in error.problems], "restarts": []}

    def _confirm(self, _call: Call) -> Parameters:
        return {"number": self._changes.confirm()}

    def _rollback(self, call: Call) -> Parameters:
        number = call.whole("number", 0, low=0, high=1 << 31) or None
        return _applied(self._changes.rollback(number, _request(call, 0)))

    def _history(self, _call: Call) -> Parameters:
        entries = [
            {
                "number": entry.number,
                "time_s": entry.time_s,
                "user": entry.user,
                "action": entry.action,
                "comment": entry.comment,
                "kept": entry.kept,
            }
            for entry in self._changes.history.entries()
        ]
        return {"entries": entries, "current": self._changes.number, "pending": pending_report(self._changes)}

    def _configuration(self, call: Call) -> Parameters:
        which = call.text("of")
        if which == "running":
            text = self._changes.text
        elif which == "file":
            text = configuration.read(self._changes.path).decode("utf-8", "replace")
        elif which.isdecimal():
            text = self._changes.history.get(int(which)).text
        else:
            raise OperatorError(f"there is no configuration {which}", "file, running, or a number of: levee history")
        return {"text": text, "path": str(self._changes.path)}
