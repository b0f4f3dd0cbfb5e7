"""The configuration in force, and the parts that carry it out: an engine, and what steers packets to it.

Owns the change from one configuration to the next, all or nothing, and the rules while they are needed. Called by
daemon.py: at start and stop in its loop, in between only as jobs (jobs.py), so that two changes never meet and waiting
for nft holds up nobody. Must not know the control socket.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from appliance import flows, rules
from appliance.bypass import Flag, bypassed
from appliance.errors import OperatorError
from appliance.models import Config

if TYPE_CHECKING:
    from appliance.addresses import AddressRange
    from appliance.engines import Chosen
    from appliance.models import Service

LOG = logging.getLogger(__name__)

# What a running box can take over; the rest is fixed when its engine is made.
CHANGEABLE = frozenset({"services", "excepted"})
# What another engine, or the same one elsewhere, would not find and so would leave behind.
ELSEWHERE = frozenset({"mode", "engine", "outside", "inside", "bridge", "bpf"})
MAX_LOOKS = 16  # at the whole table, for hosts that were excepted


def fixed_differences(one: Config, other: Config) -> list[str]:
    """The keys, as in the file, in which they differ and which only a restart can change."""
    names = [
        field.alias or name
        for name, field in Config.model_fields.items()
        if name not in CHANGEABLE and getattr(one, name) != getattr(other, name)
    ]
    if "engine" not in names and one.engine == "auto" and one.forwards != other.forwards:
        names.append("engine")  # forward_to decides which one it is
    return names


class Running:
    """One engine at work. `config` is replaced as a whole, so it may be read at any time from anywhere."""

    def __init__(self, config: Config, chosen: Chosen) -> None:
        self.config = config
        self.chosen = chosen
        self.engine = chosen.engine
        self.steering = chosen.steering
        # Services whose packets are still steered although they are no longer protected: their open connections have
        # to be translated to their end. After a restart that may be any that is off.
        self._draining: tuple[Service, ...] = ()
        # Excepted hosts whose packets are still steered, for the same reason.
        self._leaving: tuple[AddressRange, ...] = ()
        self._bypass = Flag(config.runtime_dir)
        if self._bypass.up:
            LOG.warning("bypass is on: nobody is protected until: levee bypass off")
            self._serve(config)
        if self.has_flows():
            self._draining = tuple(service for service in config.services.values() if service.protect == "off")
            self._leaving = self._still_proxied(config.excepted)

    @property
    def bypass(self) -> bool:
        """Whether nobody is protected, whatever the configuration says."""
        return self._bypass.up

    def set_bypass(self, *, on: bool) -> None:
        """Open connections go on either way. Raises OperatorError, and then it is as it was."""
        if on == self._bypass.up:
            raise OperatorError(f"bypass is {'on' if on else 'off'} already", "see: levee status")
        self._bypass.set(up=on)
        self._serve(self.config)
        LOG.warning(
            "bypass is on: nobody is protected" if on else "bypass is off: services are protected as configured"
        )

    def _serve(self, config: Config) -> None:
        """Gives the engine its services: as configured, or all of them only watched."""
        if not self._bypass.up:
            self.engine.set_services(config)
            return
        self.engine.set_services(bypassed(config))
        for name in self.engine.guards():
            self.engine.set_guard(name, on=False)

    def has_flows(self) -> bool:
        """Whether any connection is open through the box, or promised to a client."""
        occupancy = self.engine.occupancy()
        return occupancy["flows_used"] > 0 or occupancy["half_open_used"] > 0

    def steer(self) -> None:
        """Loads the rules. Raises OperatorError."""
        past = tuple(span for span in self.config.excepted if span not in self._leaving)
        self.steering.apply(self.config.model_copy(update={"excepted": past}), self._steered())

    def stop_steering(self) -> None:
        """Takes the rules away, unless they are to stay. Raises OperatorError."""
        policy = self.config.bpf if self.engine.name == "bpf" else self.config.nfqueue
        if policy.on_stop == "remove":
            self.steering.remove(self.config)

    def make_room(self, following: Config | None) -> None:
        """Before new parts are made: takes away what those of `following` would not replace. Raises OperatorError."""
        if following is not None and ELSEWHERE & set(fixed_differences(self.config, following)):
            self.steering.remove(self.config)

    def guard(self) -> bool:
        """Whether the rules had to be loaded again: others may flush them. Raises OperatorError when they cannot be.

        What was steered for open connections only may have done its duty: then it goes.
        """
        leaving = self._still_proxied(self._leaving)
        if leaving != self._leaving or (self._draining and not self.has_flows()):
            self._leaving = leaving
            self._draining = self._draining if self.has_flows() else ()
            self.steer()
        elif not self.steering.present(self.config):
            self.steer()
            return True
        return False

    def take_over(self, wanted: Config) -> list[str]:
        """Puts what can be changed in force; returns the keys of the rest, which need a restart.

        Raises OperatorError, and then everything is as it was.
        """
        before = self.config, self._draining, self._leaving
        steered = self._steered()
        following = self.config.model_copy(update={name: getattr(wanted, name) for name in CHANGEABLE})
        protected = rules.steered_services(following)
        self._serve(following)
        self.config = following
        self._draining = tuple(one for one in steered if one not in protected) if self.has_flows() else ()
        new = tuple(one for one in following.excepted if one not in before[0].excepted or one in self._leaving)
        self._leaving = self._still_proxied(new)
        try:
            self.steer()
        except OperatorError:
            self._serve(before[0])
            self.config, self._draining, self._leaving = before
            raise
        return fixed_differences(self.config, wanted)

    def _still_proxied(self, excepted: tuple[AddressRange, ...]) -> tuple[AddressRange, ...]:
        """Those of these hosts whose connections have to be translated to their end; the rest may pass in the kernel.

        With more ranges than are worth a look each at the table: all of them, while there is any connection. The bpf
        engine's programs ask for the connection first, and for the host after.
        """
        if self.engine.name == "bpf":
            return ()
        if len(excepted) > MAX_LOOKS:
            return excepted if self.has_flows() else ()
        return tuple(span for span in excepted if flows.proxied(self.engine, span))

    def _steered(self) -> tuple[Service, ...]:
        return (*rules.steered_services(self.config), *self._draining)
