"""What one source may have of a service: the keys of `per_source` that a form and the menu ask for.

Owns their order and their words. What is right is the daemon's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from appliance.tui.view import edits

if TYPE_CHECKING:
    from collections.abc import Mapping


class Limit(NamedTuple):
    """A key below `per_source`."""

    key: str
    label: str
    hint: str

    def path(self, service: str) -> edits.Path:
        """Where it stands in the file."""
        return ("services", service, "per_source", self.key)


LIMITS = (
    Limit("new_per_s", "New a second", "connections that may begin; empty: any number"),
    Limit("open", "Open", "connections at a time; empty: any number"),
    Limit("over", "More than that", "drop (wait for its turn), reset, or block (the source)"),
    Limit("block_for", "Blocked for", "90s, 10m, 2h, 7d; with block only"),
)


def set_limits(text: str, service: str, values: Mapping[str, str]) -> str:
    """The text with these values; an empty one takes its key away. Raises OperatorError."""
    return edits.set_of_service(text, service, {("per_source", key): value for key, value in values.items()})
