"""`levee confirm`: what is on trial stays."""

from argparse import Namespace

from appliance import client, exits


def execute(arguments: Namespace) -> int:
    """Raises OperatorError when nothing is on trial."""
    reply = client.call(client.socket_path(arguments.socket), "org.levee.Confirm", timeout_s=client.CHANGE_TIMEOUT_S)
    print(f"configuration {reply['number']} stays in force")
    return exits.DONE
