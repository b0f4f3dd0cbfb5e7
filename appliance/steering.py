"""Puts the packet rules into the kernel, finds out what this kernel can do, and takes the rules away again.

Owns the calls of nft and iptables. Called by daemon.py. Every change is checked first and made in one transaction; a
predecessor's rules, also those of a killed one, are replaced without a gap. What the rules say is rules.py's business.
"""

import logging
import shutil
import subprocess
from collections.abc import Sequence

from appliance import rules
from appliance.errors import OperatorError
from appliance.models import Config, Service

LOG = logging.getLogger(__name__)

# Programs are found here whatever the caller's PATH is; their messages come in English.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TIMEOUT_S = 60
IPTABLES = ("iptables", "ip6tables")
DESCRIPTIONS: dict[rules.Method, str] = {
    "queue": "nft queue",
    "mark": "nft mark + iptables NFQUEUE (this kernel has no nft queue expression)",
}


def _run(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; its exit code is the caller's to judge."""
    program = arguments[0]
    try:
        return subprocess.run(
            arguments, input=text, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=TIMEOUT_S
        )
    except FileNotFoundError as error:
        package = "iptables" if program.startswith("ip") else "nftables"
        raise OperatorError(f"{program} is not installed", f"apt-get install {package}") from error
    except subprocess.TimeoutExpired as error:
        hint = f"find out what holds it, then start again: {' '.join(arguments)}"
        raise OperatorError(f"{program} gave no answer in {TIMEOUT_S} s", hint) from error


def _demand(arguments: Sequence[str], text: str = "") -> str:
    """Runs a program that must succeed; returns what it printed."""
    done = _run(arguments, text)
    if done.returncode != 0:
        raise _failed(arguments, done.stderr)
    return done.stdout


def _failed(arguments: Sequence[str], said: str) -> OperatorError:
    lines = said.strip().splitlines()
    first = lines[0] if lines else "it said nothing"
    if "Operation not permitted" in said or "you must be root" in said:
        hint = "run it as root, or give it the capabilities CAP_NET_ADMIN and CAP_NET_RAW"
    else:
        hint = "does this kernel have nftables, and what else is in its tables? See: nft list ruleset"
    return OperatorError(f"{' '.join(arguments)}: {first}", hint)


def detect(config: Config) -> rules.Method:
    """How packets can be queued on this kernel in this mode. Raises OperatorError when they cannot. Changes nothing."""
    check = ("nft", "-c", "-f", "-")
    if _run(check, rules.probe(config, queue=True)).returncode == 0:
        return "queue"
    _demand(check, rules.probe(config, queue=False))  # nftables itself works, and we may use it
    if config.mode == "bridge":
        raise OperatorError(
            "mode: bridge needs nftables' queue expression, which this kernel does not have (CONFIG_NFT_QUEUE)",
            "boot a kernel that has it (Debian's does: modprobe nft_queue), or use mode: routed",
        )
    for program in IPTABLES:
        test = (f"{program}-restore", "--noflush", "--test", "--wait")
        done = _run(test, rules.iptables_change((), rules.iptables_wanted(config.nfqueue)))
        if done.returncode != 0:
            raise OperatorError(
                "this kernel can queue packets neither with nftables (CONFIG_NFT_QUEUE) nor with "
                f"{program} (CONFIG_NETFILTER_XT_TARGET_NFQUEUE): {done.stderr.strip()}",
                "boot a kernel that has one of them (Debian's has both)",
            )
    return "mark"


def remove_all() -> None:
    """Takes the rules of any mode and method away. Where rules cannot be listed, none of ours can be there."""
    if shutil.which("nft", path=ENVIRONMENT["PATH"]):
        tables = _run(("nft", "list", "tables"))
        if ours := rules.removals(tables.stdout.splitlines()):
            _demand(("nft", "-f", "-"), ours)
    for program in IPTABLES:
        if not shutil.which(program, path=ENVIRONMENT["PATH"]):
            continue
        listed = _run((program, "--wait", "-t", "raw", "-S"))
        if rules.iptables_rules(listed.stdout.splitlines()):
            _demand(
                (f"{program}-restore", "--noflush", "--wait"), rules.iptables_change(listed.stdout.splitlines(), ())
            )


class Steering:
    """The rules of one configuration in the kernel. apply() and remove() can be repeated; both end in a known state."""

    steered_by = "rules"

    def __init__(self, method: rules.Method) -> None:
        self.method = method

    @property
    def description(self) -> str:
        """For the operator: what queues the packets."""
        return DESCRIPTIONS[self.method]

    def apply(self, config: Config, services: Sequence[Service]) -> None:
        """Steers `services`. Raises OperatorError, and then the rules are as they were.

        The iptables rule comes first: alone it matches nothing, while marks without it would let packets pass. Rules
        of this version are replaced in place, others (of a predecessor's, or none) as a whole.
        """
        present = _demand(("nft", "list", "tables")).splitlines()
        text = rules.ruleset(config, services, self.method, present, in_place=True)
        if _run(("nft", "-c", "-f", "-"), text).returncode != 0:
            text = rules.ruleset(config, services, self.method, present)
            _demand(("nft", "-c", "-f", "-"), text)
        if self.method == "mark":
            self._iptables(rules.iptables_wanted(config.nfqueue))
        _demand(("nft", "-f", "-"), text)
        LOG.info("rules loaded: table %s %s (%s)", rules.family(config), rules.TABLE, self.description)

    def remove(self, config: Config) -> None:
        """Takes everything away, in the opposite order. Raises OperatorError."""
        _demand(("nft", "-f", "-"), rules.removal(config))
        if self.method == "mark":
            self._iptables(())
        LOG.info("rules removed: table %s %s", rules.family(config), rules.TABLE)

    def present(self, config: Config) -> bool:
        """Whether the rules are still there: others may have flushed the ruleset."""
        if _run(("nft", "-t", "list", "table", rules.family(config), rules.TABLE)).returncode != 0:
            return False
        wanted = 0 if self.method == "queue" else len(rules.iptables_wanted(config.nfqueue))
        return all(len(rules.iptables_rules(self._iptables_list(program))) >= wanted for program in IPTABLES if wanted)

    def warnings(self) -> list[str]:
        """Packets come to the rules whatever the NIC does to them."""
        return []

    def _iptables(self, wanted: Sequence[str]) -> None:
        for program in IPTABLES:
            change = rules.iptables_change(self._iptables_list(program), wanted)
            _demand((f"{program}-restore", "--noflush", "--wait"), change)

    @staticmethod
    def _iptables_list(program: str) -> list[str]:
        return _demand((program, "--wait", "-t", "raw", "-S")).splitlines()
