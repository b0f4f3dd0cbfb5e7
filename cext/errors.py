"""The errors of the data plane that an operator can act on."""


class EngineError(Exception):
    """A queue is taken, an interface is missing, a capability is missing: what is wrong, and what would be right."""

    def __init__(self, message: str, hint: str) -> None:
        """Keep both halves apart: the command line prints them on lines of their own."""
        super().__init__(message)
        self.message = message
        self.hint = hint
