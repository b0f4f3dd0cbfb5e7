"""`levee stop`: ends the daemon. With --detach nothing of Levee is left in the kernel, whether a daemon runs or not."""

import fcntl
import sys
import time
from argparse import Namespace
from pathlib import Path

from appliance import client, config, footprint, log
from appliance.errors import OperatorError
from appliance.history import HISTORY, History
from appliance.instance import LOCK_NAME, only_one
from appliance.models import Config
from appliance.removal import remove_everything

END_LIMIT_S = 90.0  # nft may take up to 60
POLL_S = 0.05


def execute(arguments: Namespace) -> int:
    """Returns when the daemon is gone and, with --detach, all else."""
    log.start()
    found = _configuration(arguments.config, detach=arguments.detach)
    if found.socket.exists() and _told(found, detach=arguments.detach):
        _wait_gone(found)
        if arguments.detach and (found.runtime_dir / footprint.NAME).exists():
            hint = "its log says why; then, as root: levee stop --detach"
            raise OperatorError("the daemon has ended, but could not take everything away", hint)
        return 0
    if not arguments.detach:
        raise OperatorError("no levee is running", "what it left in the kernel is taken away by: levee stop --detach")
    with only_one(found.runtime_dir):
        remove_everything(found)
    return 0


def _configuration(path: Path, *, detach: bool) -> Config:
    """As the file says. Where it cannot be used and everything is to go, the one that was in force last does."""
    try:
        return config.load(path)
    except OperatorError as error:
        last = History(Config.model_fields["state_dir"].default / HISTORY).latest() if detach else None
        if last is None:
            raise
        print(f"{error.message}\ntaken instead: configuration {last.number}, which was in force", file=sys.stderr)
        return config.loads(last.text.encode(), f"configuration {last.number}")


def _told(found: Config, *, detach: bool) -> bool:
    """Whether a daemon took the call; the socket of one that was killed answers nobody."""
    try:
        client.call(found.socket, "org.levee.Stop", {"detach": detach})
    except OperatorError as error:
        if isinstance(error.__cause__, ConnectionRefusedError):
            return False
        raise
    return True


def _wait_gone(found: Config) -> None:
    """A daemon holds its lock to its end."""
    limit_s = time.monotonic() + END_LIMIT_S
    with (found.runtime_dir / LOCK_NAME).open() as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > limit_s:
                    raise OperatorError("the daemon has not ended yet", "see its log: journalctl -u levee") from error
                time.sleep(POLL_S)
            else:
                return
