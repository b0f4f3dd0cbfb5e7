"""`levee version`."""

from argparse import Namespace

from appliance.version import version


def execute(_arguments: Namespace) -> int:
    """Prints the version."""
    print(f"levee {version()}")
    return 0
