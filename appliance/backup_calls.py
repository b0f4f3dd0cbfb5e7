"""The call that gives a backup to somebody who may change the box, but not read its files.

Owns the shape of the reply (org.levee.varlink describes it). Put into the table of daemon.py.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from appliance import backup
from appliance.backup import SECRET, Places
from appliance.errors import OperatorError
from appliance.roles import Role
from appliance.varlink import Method

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from appliance.running import Running
    from appliance.varlink import Call, Parameters

MAX_BYTES = 32 << 20  # of a reply that a client takes: client.MAX_REPLY_BYTES, in base64


class BackupCalls:
    """The method around the operator's file and what runs."""

    def __init__(self, path: Path, running: Running) -> None:
        self._path = path
        self._running = running

    def methods(self) -> Mapping[str, Method]:
        """Its part of the table: for changers, as the secret and the addresses of sources are in it."""
        return {"Backup": Method(self._backup, Role.CHANGER, slow=True)}

    def _backup(self, call: Call) -> Parameters:
        places = Places.of(self._path, self._running.config)
        made = backup.collect(places, with_secret=not call.flag("without_secret"))
        data = backup.encode(made)
        if len(data) > MAX_BYTES:
            raise OperatorError(f"the backup has {len(data)} bytes, too many for a reply", "levee backup, as root")
        return {"data": base64.b64encode(data).decode(), "files": len(made.files), "secret": SECRET in made.files}
