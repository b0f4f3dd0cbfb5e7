"""The version of the installed package; its one place is the project file."""

from importlib import metadata


def version() -> str:
    """For example `0.1.0`."""
    return metadata.version("levee")
