"""`levee check`: everything that is wrong with a configuration, or what it would take to run it."""

from argparse import Namespace

from appliance import config, memory
from appliance.values import size_text


def execute(arguments: Namespace) -> int:
    """Reads the file and nothing else; raises ConfigError with all that is wrong."""
    found = config.load(arguments.file)
    count = len(found.services)
    print(f"{arguments.file}: valid: mode {found.mode}, {count} service{'s' if count > 1 else ''}")
    parts = memory.parts(found)
    for name, size_bytes in parts.items():
        print(f"  {name:<40}{size_text(size_bytes):>12}")
    print(f"  {'memory at most':<40}{size_text(sum(parts.values())):>12}")
    return 0
