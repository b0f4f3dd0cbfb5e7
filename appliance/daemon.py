"""`levee run`: brings the parts up in the right order, keeps them going, and takes them down again.

Owns the order and the loop; called by commands/run.py. The packets are the engine's business, in threads of its own:
this loop may be late without a packet noticing. What may wait (for nft, for a disk) is a job in another thread.

Start: lock, workers, then rules, so that no packet is queued while nobody listens. Stop (SIGTERM, SIGINT): rules away,
then workers; connections opened through the box stand still from then on, and go on if it is started again in time,
since the file with the flows stays. Killed: rules and flows stay, and the next start takes both up. Reload (SIGHUP):
services and exceptions only, all or nothing. A change of anything else (`levee apply`) makes the parts anew in the same
process, with rules and flows left in place where the new parts can take them up. Told to stop over the control socket:
as by a signal, or with everything taken off the machine (removal.py).
"""

import contextlib
import logging
import selectors
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from importlib import resources
from pathlib import Path

from systemd import daemon as systemd

from appliance import backends, engines, flows, links, preflight, signals
from appliance import config as configuration
from appliance.attack import Attacks
from appliance.backup_calls import BackupCalls
from appliance.blocking import Blocking, Penalty, penalty
from appliance.capture import Capturing
from appliance.change_calls import ChangeCalls, configuration_report
from appliance.changes import Changes
from appliance.control import ControlServer
from appliance.engine import reasons
from appliance.errors import ConfigError, OperatorError
from appliance.events import Events
from appliance.instance import only_one
from appliance.jobs import Jobs
from appliance.log import fields
from appliance.packetlog import PacketLog
from appliance.removal import remove_everything
from appliance.report import StatusReport, status_report
from appliance.roles import Access, Role
from appliance.running import Running
from appliance.secret import load_or_create
from appliance.setup_calls import SetupCalls
from appliance.syslog import Syslog
from appliance.varlink import Call, Method, Parameters
from appliance.varlink import Service as Interface
from appliance.version import version
from appliance.watch import Watch

LOG = logging.getLogger(__name__)

TURN_S = 1.0
LOOK_S = 5.0
PATIENCE_S = 2.0


def run(path: Path) -> None:
    """Protects until a signal ends it. Raises OperatorError."""
    config = configuration.load(path)
    with ExitStack() as undo:
        inbox = undo.enter_context(signals.inbox())
        undo.enter_context(only_one(config.runtime_dir))
        changes = Changes(path, config.state_dir)
        while _serve(changes, inbox):
            LOG.info("starting anew with another configuration")


def _serve(changes: Changes, inbox: signals.Inbox) -> bool:
    """One life of the parts; whether there is to be another. Raises OperatorError."""
    config = changes.begin()
    detaching = False
    try:
        with ExitStack() as undo:
            access = Access.of_groups(config.control.readers, config.control.changers)
            preflight.check_interfaces(config)
            chosen = engines.choose(config, load_or_create(config.secret_file))
            engine = undo.enter_context(closing(chosen.engine))
            selector = undo.enter_context(selectors.DefaultSelector())
            jobs = undo.enter_context(closing(Jobs(selector)))
            daemon = Daemon(changes, Running(config, chosen), jobs)
            control = ControlServer(config.socket, daemon.interface(), access, jobs, selector, time.monotonic)
            undo.callback(control.close)
            engine.start()
            daemon.steer()
            again = daemon.loop(inbox, selector, control)
            daemon.stop(again=again)
            detaching = daemon.detaching
    except OperatorError as error:
        if changes.failed_to_start(error):
            return True
        raise
    if detaching:
        remove_everything(config)
    return again


class Daemon:
    """The running box: what it was told, and the parts that do it."""

    def __init__(self, changes: Changes, running: Running, jobs: Jobs) -> None:
        self._changes = changes
        self._running = running
        self._jobs = jobs
        self._watch = Watch()
        self._attacks = Attacks()
        self._syslog = Syslog(running.config.syslog)
        self._events = Events(running.config.state_dir, running.config.on_attack, self._syslog.send)
        self._started_s = time.monotonic()
        self._look_at_s = self._started_s + LOOK_S
        self._leave_at_s = float("inf")
        self._expiring = False
        self._leaving = self.detaching = False
        self._backends = backends.Keeper(running.config.state_dir, running.engine)
        self._backends.load()
        self._blocking = Blocking(running.config.state_dir, running.engine, self._penalty)
        self._blocking.load()
        self._capturing = Capturing(running.engine, running.config)
        self._packets = PacketLog(running.engine)

    def interface(self) -> Interface:
        """The methods behind the control socket."""
        description = resources.files("appliance").joinpath("org.levee.varlink").read_text(encoding="utf-8")
        return Interface(version=version(), description=description, methods=self._methods())

    def _methods(self) -> Mapping[str, Method]:
        """The table: every method of org.levee.varlink, who may call it, and what answers."""
        return {
            "Status": Method(self._status),
            "Reasons": Method(lambda _call: {"reasons": reasons()}),
            "Backends": Method(self._known_backends),
            "Events": Method(self._attack_events),
            **ChangeCalls(self._changes).methods(),
            **SetupCalls(self._running).methods(),
            **BackupCalls(self._changes.path, self._running).methods(),
            "Flows": Method(lambda call: flows.page(self._running.engine, call)),
            "Stop": Method(self._leave, Role.CHANGER),
            "Bypass": Method(self._bypass, Role.CHANGER, slow=True),
            "BlockAdd": Method(self._blocking.add, Role.CHANGER, slow=True),
            "BlockDelete": Method(self._blocking.delete, Role.CHANGER, slow=True),
            "BlockList": Method(self._blocking.entries),
            "Capture": Method(self._capturing.begin, Role.CHANGER),
            "CaptureTake": Method(self._capturing.take, Role.CHANGER),
            "CaptureEnd": Method(self._capturing.end, Role.CHANGER),
        }

    def steer(self) -> None:
        """Loads the rules; the workers run already, and have turned off what they can of what is in their way."""
        self._running.steer()
        self._look_at_the_machine()

    def loop(self, inbox: signals.Inbox, selector: selectors.BaseSelector, control: ControlServer) -> bool:
        """Until a signal to stop, or until the parts are to be made anew: True.

        Leaves the rules behind when it ends in any other way: the fail policy holds.
        """
        selector.register(inbox.descriptor, selectors.EVENT_READ)
        self._changes.started(self._running)
        self._announce_ready()
        while True:
            for key, events in selector.select(TURN_S):
                if key.data is not None:
                    key.data(events)
            arrived = inbox.take()
            if arrived & signals.STOP or self._leaving:
                return False
            if self._changes.next and self._may_leave(control):
                return True
            if arrived & signals.RELOAD:
                systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                self._jobs.submit(self._reload, lambda _: systemd.notify("READY=1"))
            self._supervise()
            control.sweep()

    def _may_leave(self, control: ControlServer) -> bool:
        """Whoever asked for the change has been told; who does not read his reply is not waited for."""
        now_s = time.monotonic()
        self._leave_at_s = min(self._leave_at_s, now_s + PATIENCE_S)
        return not control.busy or now_s >= self._leave_at_s

    def stop(self, *, again: bool) -> None:
        """A clean end, after the job in hand. `again`: new parts take up what they can."""
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}" if again else "STOPPING=1")
        self._jobs.close()
        if again:
            self._running.make_room(self._changes.next)
        else:
            self._running.stop_steering()
        counters = self._running.engine.counters()["services"]
        self._packets.turn(counters, self._running.config.services, time.monotonic(), last=True)
        self._backends.save()
        self._events.close()
        self._syslog.close()
        if not again:
            LOG.info("stopped")

    def _announce_ready(self) -> None:
        took_ms = round((time.monotonic() - self._started_s) * 1000)
        config = self._running.config
        LOG.info("protecting %s", ", ".join(config.services), extra=fields(mode=config.mode, took_ms=took_ms))
        systemd.notify("READY=1\nSTATUS=protecting")

    def _supervise(self) -> None:
        """Once a turn. Raises OperatorError when a worker has ended: a restart takes the flows up again."""
        if failures := self._running.engine.failures():
            hint = "rules and programs stay, and new connections follow without_daemon until levee runs again"
            raise OperatorError("; ".join(failures), hint)
        systemd.notify("WATCHDOG=1")
        now_s = time.monotonic()
        self._watch.queues(self._running.engine.queues(), now_s)
        self._look_at_the_counters(now_s)
        self._backends.turn()
        self._watch.stand("backends", self._backends.problem)
        self._watch.stand("change", self._changes.problem)
        if self._changes.due() and not self._expiring:
            self._expiring = True
            self._jobs.submit(self._changes.expire, self._expired)
        self._blocking.turn(self._jobs)
        self._capturing.turn(now_s)
        self._watch.stand("blocklist", self._blocking.problem)
        if now_s >= self._look_at_s:
            self._look_at_s = float("inf")  # until this look is over
            self._look_at_the_machine()
            self._jobs.submit(self._guard, self._guarded)

    def _look_at_the_counters(self, now_s: float) -> None:
        """Notes attacks; services with `protect: auto` are protected as long as theirs goes on. Logs packets."""
        engine, services = self._running.engine, self._running.config.services
        guards, counters = engine.guards(), engine.counters()["services"]
        self._packets.turn(counters, services, now_s)
        changes = self._attacks.look(counters, now_s, services, guards)
        for change in changes if not self._running.bypass else ():
            with contextlib.suppress(KeyError):  # a job may have taken the service, or its `auto`, away just now
                engine.set_guard(change.service, on=not change.over)
        self._events.take(changes)
        self._watch.stand("events", self._events.problem)
        self._syslog.turn()
        self._watch.stand("syslog", self._syslog.problem)

    def _expired(self, _: None) -> None:
        self._expiring = False

    def _look_at_the_machine(self) -> None:
        warnings = [*preflight.warnings(self._running.config), *self._running.steering.warnings()]
        self._watch.stand("machine", "; ".join(warnings) or None)

    def _guard(self) -> bool | OperatorError:
        self._changes.look()
        try:
            return self._running.guard()
        except OperatorError as error:
            return error

    def _guarded(self, found: bool | OperatorError) -> None:
        now_s = time.monotonic()
        self._look_at_s = now_s + LOOK_S
        failed = isinstance(found, OperatorError)
        what = self._running.steering.steered_by
        self._watch.stand("rules", f"the {what} cannot be loaded: {found}" if failed else None)
        if found is True:
            self._watch.passing(f"the {what} were removed by someone else, and loaded again", now_s)

    def _reload(self) -> None:
        """Takes the services and exceptions from the file, or nothing."""
        try:
            fixed = self._changes.reload()
        except ConfigError as error:
            for line in error.message.splitlines():
                LOG.error("not reloaded: %s", line)  # noqa: TRY400 - explained, not traced
        except OperatorError as error:
            LOG.error("not reloaded: %s (%s)", error.message, error.hint)  # noqa: TRY400
        else:
            LOG.info("reloaded: %s", ", ".join(self._running.config.services))
            if fixed:
                LOG.warning("changes of %s need a restart", ", ".join(fixed))

    def _leave(self, call: Call) -> Parameters:
        self.detaching = call.flag("detach")
        self._leaving = True
        return {}

    def _bypass(self, call: Call) -> Parameters:
        self._running.set_bypass(on=call.flag("on"))
        return {}

    def _known_backends(self, _call: Call) -> Parameters:
        return {"backends": backends.report(self._running.engine.backends(), self._running.config)}

    def _attack_events(self, _call: Call) -> Parameters:
        return {"events": self._events.all}

    def _penalty(self, service: str) -> Penalty | None:
        return penalty(service, self._running.config.services.get(service))

    def _status(self, _call: Call) -> Parameters:
        now_s = time.monotonic()
        running = self._running
        report: StatusReport = status_report(
            running.config,
            version=version(),
            engine=running.engine.name,
            engine_reason=running.chosen.reason,
            steering=running.steering.description,
            uptime_s=int(now_s - self._started_s),
            bypass=running.bypass,
            links=links.report(running.config),
            configuration=configuration_report(self._changes),
            problems=self._watch.problems(now_s),
            attacks=self._attacks.open,
            now_s=now_s,
            guards=running.engine.guards(),
            counters=running.engine.counters(),
            occupancy=running.engine.occupancy(),
            queues=running.engine.queues(),
        )
        return dict(report)
