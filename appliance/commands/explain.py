"""`levee explain`: what a configuration means, before it is used."""

from argparse import Namespace

from appliance import config as configuration
from appliance import exits, explain
from appliance.errors import OperatorError
from appliance.yamldoc import parse


def execute(arguments: Namespace) -> int:
    """Reads the file and nothing else; raises ConfigError with all that is wrong."""
    data = configuration.read(arguments.file)
    config = configuration.loads(data, str(arguments.file))
    if arguments.nft:
        lines = explain.nft(config)
    elif arguments.maps:
        lines = explain.maps(config)
    else:
        if arguments.service is not None and arguments.service not in config.services:
            known = ", ".join(config.services)
            raise OperatorError(f"there is no service {arguments.service}", f"there are: {known}")
        document = parse(data.decode("utf-8-sig"))
        lines = explain.Explanation(config, document).lines(arguments.service)
    for line in lines:
        print(line)
    return exits.DONE
