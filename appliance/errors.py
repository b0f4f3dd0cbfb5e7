"""What an operator is told when something is wrong.

Owns the two shapes of an operator's error: a `Problem`, which has a place in a file, and an `OperatorError`, which
has a hint. Raised everywhere in the appliance, caught and printed in cli.py only. Knows nothing of what went wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in the configuration; `line` and `column` count from 1, `key` is the dotted path in the file."""

    line: int
    column: int
    key: str
    wrong: str
    right: str

    def render(self, file: str) -> str:
        """The line an operator reads: `file:line:column: key: what is wrong, what would be right`."""
        return f"{file}:{self.line}:{self.column}: {self.key}: {self.wrong}, {self.right}"


class WrongValue(ValueError):
    """What is wrong with a value, and what would be right; raised where a value is read, placed by config.py."""

    def __init__(self, wrong: str, right: str) -> None:
        super().__init__(f"{wrong}, {right}")
        self.wrong = wrong
        self.right = right


def shown(value: object) -> str:
    """A value of the configuration as the operator wrote it, short enough for one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return "a list"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class OperatorError(Exception):
    """Something the operator can put right: a message, and a hint that says how."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(OperatorError):
    """A configuration that cannot be used: every problem in it, in the order of the file."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(problem.render(file) for problem in self.problems))
