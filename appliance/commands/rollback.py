"""`levee rollback`: takes back what is on trial, or goes back in the history."""

from argparse import Namespace

from appliance import client, exits
from appliance.changing import for_user, told


def execute(arguments: Namespace) -> int:
    """Raises OperatorError when there is nothing to go back to."""
    parameters: dict[str, object] = {
        "confirm_s": arguments.confirm,
        "comment": arguments.comment,
        "for_user": for_user(),
        "number": arguments.number,
    }
    path = client.socket_path(arguments.socket)
    reply = client.call(path, "org.levee.Rollback", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
    for line in told(path, reply):
        print(line)
    return exits.DONE
