"""Who is asking: the credentials of the process at the other end of a Unix socket, and what they allow.

Owns the roles. The kernel notes user, group and supplementary groups when a client connects (unix(7), SO_PEERCRED, and
SO_PEERGROUPS since Linux 4.13), so a client can neither claim nor lose them later. Called by control.py for each
connection; varlink.py compares the role with what a method asks for. Must not know the methods.
"""

import grp
import logging
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

from appliance.errors import OperatorError

LOG = logging.getLogger(__name__)

SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h; Python has no name for it
UCRED = struct.Struct("iII")  # pid, uid, gid: struct ucred of unix(7)
GID_BYTES = 4
# LIMIT: Python reads at most 1024 bytes of a socket option. Who is in more than 256 groups has only his primary one.
MAX_PEERGROUPS_BYTES = 1024


class Role(IntEnum):
    """A changer may do what a reader may, and more."""

    READER = 1
    CHANGER = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """The process that connected."""

    pid: int
    uid: int
    role: Role

    @property
    def user(self) -> str:
        """Its name, or its number when it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


@dataclass(frozen=True, slots=True)
class Access:
    """Group numbers: `readers` may ask, `changers` may change too. Root and our own user may do everything."""

    readers: int
    changers: int | None = None

    @classmethod
    def of_groups(cls, readers: str | None, changers: str | None) -> "Access":
        """By name; without a name, readers are our own group and nobody is a changer. Raises OperatorError."""
        return cls(
            os.getegid() if readers is None else _group("control.readers", readers),
            None if changers is None else _group("control.changers", changers),
        )

    def caller(self, peer: socket.socket) -> Caller | None:
        """Who is at the other end of a connected Unix socket; None: somebody who may do nothing."""
        pid, uid, gid = UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        role = self.role(uid, {gid, *_supplementary(peer)})
        return None if role is None else Caller(pid, uid, role)

    def role(self, uid: int, groups: set[int]) -> Role | None:
        """What a user in these groups may do."""
        if uid in (0, os.geteuid()) or self.changers in groups:
            return Role.CHANGER
        return Role.READER if self.readers in groups else None


def _group(key: str, name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise OperatorError(f"{key}: there is no group {name}", f"groupadd --system {name}") from error


def _supplementary(peer: socket.socket) -> tuple[int, ...]:
    try:
        data = peer.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAX_PEERGROUPS_BYTES)
    except OSError as error:
        LOG.warning("the groups of a control client are not known: %s", error.strerror)
        return ()
    return struct.unpack(f"{len(data) // GID_BYTES}I", data)
