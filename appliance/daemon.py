"""`levee run`: brings the parts up in the right order, keeps them going, and takes them down again.

Owns the order and the loop; called by commands/run.py. The packets are the engine's business, in threads of its own:
this loop may be late without a packet noticing.

Start: lock, workers, then rules, so that no packet is queued while nobody listens. Stop (SIGTERM, SIGINT): rules away,
then workers; connections opened through the box stand still from then on, and go on if it is started again in time,
since the file with the flows stays. Killed: rules and flows stay, and the next start takes both up. Reload (SIGHUP):
services and exceptions only, all or nothing.
"""

import logging
import selectors
import time
from contextlib import ExitStack, closing
from importlib import resources
from pathlib import Path

from systemd import daemon as systemd

from appliance import backends, engines, preflight, rules, signals
from appliance import config as configuration
from appliance.attack import Attacks
from appliance.control import ControlServer
from appliance.engines import Chosen
from appliance.errors import ConfigError, OperatorError
from appliance.instance import only_one
from appliance.log import fields
from appliance.models import Config, Service
from appliance.report import StatusReport, status_report
from appliance.secret import load_or_create
from appliance.varlink import Parameters
from appliance.varlink import Service as Interface
from appliance.version import version
from appliance.watch import Watch

LOG = logging.getLogger(__name__)

TURN_S = 1.0
LOOK_S = 5.0


def run(path: Path) -> None:
    """Protects until a signal ends it. Raises OperatorError."""
    config = configuration.load(path)
    with ExitStack() as undo:
        inbox = undo.enter_context(signals.inbox())
        undo.enter_context(only_one(config.runtime_dir))
        preflight.check_interfaces(config)
        chosen = engines.choose(config, load_or_create(config.secret_file))
        engine = undo.enter_context(closing(chosen.engine))
        selector = undo.enter_context(selectors.DefaultSelector())
        daemon = Daemon(path, config, chosen)
        control = ControlServer(config.socket, daemon.interface(), selector, time.monotonic)
        undo.callback(control.close)
        engine.start()
        daemon.steer()
        daemon.loop(inbox, selector, control)


class Daemon:
    """The running box: what it was told, and the parts that do it."""

    def __init__(self, path: Path, config: Config, chosen: Chosen) -> None:
        self._path = path
        self._config = config
        self._chosen = chosen
        self._engine = chosen.engine
        self._steering = chosen.steering
        self._watch = Watch()
        self._attacks = Attacks()
        self._started_s = time.monotonic()
        self._looked_s = self._started_s
        # Services whose packets are still steered although they are no longer protected: their open connections have
        # to be translated to their end. After a restart that may be any that is off.
        self._draining: tuple[Service, ...] = ()
        if self._has_flows():
            self._draining = tuple(service for service in config.services.values() if service.protect == "off")
        self._backends = backends.Keeper(config.state_dir, chosen.engine)
        self._backends.load()
        self._look_at_the_machine()

    def interface(self) -> Interface:
        """The methods behind the control socket."""
        description = resources.files("appliance").joinpath("org.levee.varlink").read_text(encoding="utf-8")
        return Interface(
            version=version(),
            description=description,
            methods={"Status": self._status, "Backends": self._known_backends},
        )

    def steer(self) -> None:
        """Loads the rules; the workers run already."""
        self._steering.apply(self._config, self._steered())

    def loop(self, inbox: signals.Inbox, selector: selectors.BaseSelector, control: ControlServer) -> None:
        """Until a signal to stop. Leaves the rules behind when it ends in any other way: the fail policy holds."""
        selector.register(inbox.descriptor, selectors.EVENT_READ)
        self._announce_ready()
        while True:
            for key, events in selector.select(TURN_S):
                if key.data is not None:
                    key.data(events)
            arrived = inbox.take()
            if arrived & signals.STOP:
                break
            if arrived & signals.RELOAD:
                self._reload()
            self._supervise()
            control.sweep()
        self._stop()

    def _announce_ready(self) -> None:
        took_ms = round((time.monotonic() - self._started_s) * 1000)
        names = ", ".join(self._config.services)
        LOG.info("protecting %s", names, extra=fields(mode=self._config.mode, took_ms=took_ms))
        systemd.notify("READY=1\nSTATUS=protecting")

    def _stop(self) -> None:
        systemd.notify("STOPPING=1")
        policy = self._config.bpf if self._engine.name == "bpf" else self._config.nfqueue
        if policy.on_stop == "remove":
            self._steering.remove(self._config)
        self._backends.save()
        LOG.info("stopped")

    def _supervise(self) -> None:
        """Once a turn. Raises OperatorError when a worker has ended: a restart takes the flows up again."""
        if failures := self._engine.failures():
            hint = "rules and programs stay, and new connections follow without_daemon until levee runs again"
            raise OperatorError("; ".join(failures), hint)
        systemd.notify("WATCHDOG=1")
        now_s = time.monotonic()
        self._watch.queues(self._engine.queues(), now_s)
        self._attacks.look(self._engine.counters()["services"], now_s)
        self._backends.turn()
        self._watch.stand("backends", self._backends.problem)
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._guard_rules(now_s)
            self._look_at_the_machine()

    def _look_at_the_machine(self) -> None:
        self._watch.stand("machine", "; ".join(preflight.warnings(self._config)) or None)

    def _guard_rules(self, now_s: float) -> None:
        """Others may flush the ruleset; and what was steered for open connections only may have done its duty."""
        try:
            if self._draining and not self._has_flows():
                self._draining = ()
                self.steer()
            elif not self._steering.present(self._config):
                self._watch.passing("the rules were removed by someone else, and loaded again", now_s)
                self.steer()
        except OperatorError as error:
            self._watch.stand("rules", f"the rules cannot be loaded: {error.message}")
        else:
            self._watch.stand("rules", None)

    def _has_flows(self) -> bool:
        return self._engine.occupancy()["flows_used"] > 0

    def _steered(self) -> tuple[Service, ...]:
        return (*rules.steered_services(self._config), *self._draining)

    def _reload(self) -> None:
        """Takes the services and exceptions from the file, or nothing."""
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._take_over(configuration.load(self._path))
        except ConfigError as error:
            for line in error.message.splitlines():
                LOG.error("not reloaded: %s", line)  # noqa: TRY400 - explained, not traced
        except OperatorError as error:
            LOG.error("not reloaded: %s (%s)", error.message, error.hint)  # noqa: TRY400
        else:
            LOG.info("reloaded: %s", ", ".join(self._config.services))
        systemd.notify("READY=1")

    def _take_over(self, wanted: Config) -> None:
        """Raises OperatorError, and then everything is as it was."""
        before = self._config, self._draining
        steered = self._steered()
        self._config = self._config.model_copy(update={"services": wanted.services, "excepted": wanted.excepted})
        protected = rules.steered_services(self._config)
        self._draining = tuple(one for one in steered if one not in protected) if self._has_flows() else ()
        self._engine.set_services(self._config)
        try:
            self.steer()
        except OperatorError:
            self._config, self._draining = before
            self._engine.set_services(self._config)
            raise
        if self._config != wanted:
            names = [name for name in Config.model_fields if getattr(self._config, name) != getattr(wanted, name)]
            LOG.warning("changes of %s need a restart", ", ".join(names))

    def _known_backends(self, _parameters: Parameters) -> Parameters:
        return {"backends": backends.report(self._engine.backends(), self._config)}

    def _status(self, _parameters: Parameters) -> Parameters:
        now_s = time.monotonic()
        report: StatusReport = status_report(
            self._config,
            version=version(),
            engine=self._engine.name,
            engine_reason=self._chosen.reason,
            steering=self._steering.description,
            uptime_s=int(now_s - self._started_s),
            problems=self._watch.problems(now_s),
            attacks=self._attacks.open,
            now_s=now_s,
            counters=self._engine.counters(),
            occupancy=self._engine.occupancy(),
            queues=self._engine.queues(),
        )
        return dict(report)
