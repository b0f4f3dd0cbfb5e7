"""`levee bypass on|off`: for a while nobody is protected, or the configuration's word holds again."""

from argparse import Namespace

from appliance import client, exits

SAID = {
    "on": "bypass is on: new connections go straight to the servers, nobody is protected",
    "off": "bypass is off: services are protected as configured",
}


def execute(arguments: Namespace) -> int:
    """Raises OperatorError when it is so already."""
    parameters: dict[str, object] = {"on": arguments.switch == "on"}
    client.call(client.socket_path(arguments.socket), "org.levee.Bypass", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
    print(SAID[arguments.switch])
    return exits.DONE
