"""Reasons and states in plain words.

Owns the sentences that are not the daemon's own; those of drop reasons come from org.levee.Reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.report import ServiceReport, StatusReport
    from appliance.tui.view.line import Role

NO_LOSS = "(not a loss"


def is_loss(reason: str, reasons: Mapping[str, str]) -> bool:
    """Whether somebody misses the packet; the list of reasons says so itself."""
    return NO_LOSS not in reasons.get(reason, "")


def state(status: StatusReport) -> tuple[str, Role]:
    """The word on the banner. LEARNING: nobody is proxied just now, and what passes is learned from."""
    found = status["state"]
    if found == "PROTECTING":
        watching = not any(one["protected"] for one in status["services"].values())
        return ("LEARNING", "banner-warn") if watching else ("PROTECTING", "banner-good")
    return (found, "banner-warn" if found == "ATTACK" else "banner-bad")


def why(name: str, service: ServiceReport, status: StatusReport) -> str:
    """Why a service is in the state it is in."""
    if service["protect"] == "off":
        return "not protected: its configuration says protect: off. Packets pass untouched."
    if status["state"] == "BYPASS":
        return "not protected: bypass is on. New connections go straight to the server."
    if service["protect"] == "always":
        return "protected: its configuration says protect: always. Every new connection is proxied."
    if not service["protected"]:
        return "watched: protect: auto, and no attack just now. New connections go straight to the server."
    attack = status["attacks"].get(name)
    if attack is None:
        return "protected: protect: auto, and an attack was noticed just now."
    return f"protected: protect: auto, and an attack has been going on for {attack['age_s']} s."


def short_state(service: ServiceReport, *, attacked: bool) -> tuple[str, Role]:
    """One word for a table."""
    if attacked:
        return "ATTACK", "bad"
    if service["protected"]:
        return "protected", "good"
    return ("off", "dim") if service["protect"] == "off" else ("watched", "warn")
