"""Bypass: for a while nobody is protected, whatever the configuration says, and its file stays as it is.

Owns the flag in runtime_dir and what a configuration becomes while it is up. Called by running.py. Services are watched
then as with `protect: auto`: a new connection goes straight to its server, and is known, so that the end of the bypass
cuts none. The flag outlives the daemon, and is lost with runtime_dir at a reboot: a box that lost its power protects.
Lists of blocked sources and `protect: off` are not touched. Must not know the engine.
"""

import os
from pathlib import Path
from types import MappingProxyType

from appliance import durable
from appliance.errors import OperatorError
from appliance.models import Config, Service

NAME = "bypass"
NEVER = (1 << 32) - 1  # SYNs a second: more than the guard of the packet path can count


def bypassed(config: Config) -> Config:
    """The same with every service watched; one with a trap has nobody behind it, and is left alone."""
    services = {name: _watched(service) for name, service in config.services.items()}
    return config.model_copy(update={"services": MappingProxyType(services)})


def _watched(service: Service) -> Service:
    if service.protect == "off":
        return service
    if service.trap is not None:
        return service.model_copy(update={"protect": "off", "trap": None})
    marks = service.attack.model_copy(update={"high_syns_per_s": NEVER})
    return service.model_copy(update={"protect": "auto", "attack": marks})


class Flag:
    """The file: it is there while the bypass is on."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir / NAME
        self.up = self._path.exists()

    def set(self, *, up: bool) -> None:
        """Raises OperatorError, and then it is as it was."""
        try:
            if up:
                durable.replace(self._path, b"", mode=0o644)
            else:
                durable.remove(self._path)
        except OSError as error:
            hint = "is there room, and may levee write to its folder?"
            raise OperatorError(f"{os.fspath(self._path)}: {error.strerror}", hint) from error
        self.up = up
