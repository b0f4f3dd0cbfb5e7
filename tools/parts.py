"""What `make check` and `make test` consist of: the list of parts, their steps and their time limits.

Owns the command lines. Read by tools/suite.py, which runs them. It must not run anything itself.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
REPORT = BUILD / "report"
BIN = Path(sys.executable).parent
CLANG = "clang-19"
CLANG_FORMAT = "clang-format-19"

# Headers of cext/core/ that BPF programs will include unchanged: no libc, no locks. The rest is user space.
PACKET_LOGIC = (
    "announce", "base", "capture", "checksum", "cookie", "emit", "flow", "guard", "halfopen", "learned", "lists",
    "options", "packet", "reason", "service", "siphash", "sources", "synack", "translate", "watch",
)  # fmt: skip

# Files of tests/lab that are about connections, whatever the engine; run once more with the bpf engine. The direct way,
# which they are compared with, is shown once, by the router.
BPF_IN_THE_LAB = (
    "life", "traffic", "segments", "resets", "wire", "vlan", "flood", "block", "restart", "programs", "stop", "kills",
    "auto", "bypass", "reload", "capture", "sources", "many_changes", "bounded", "packet_log",
)  # fmt: skip
# What waits for clocks, not for packets: in one family here, in both by `make behaviour`.
ONE_FAMILY = (
    "not (ipv6 and (test_auto or test_reload or test_sources or test_server_trouble or test_restart or test_programs))"
)
# Files of tests/lab that need no server made of packets: those that a host, whose servers are its own, can pass.
HOST_IN_THE_LAB = ("host", "traffic", "life", "flood", "reload")


class Nothing(Exception):
    """A step has no input, for example no file to check."""


@dataclass(frozen=True)
class Step:
    """One command. With `cases` it writes a JUnit file and each test case counts, else it counts as one."""

    name: str
    argv: tuple[str, ...]
    limit_s: int
    cases: bool = False
    root: bool = False
    optional: bool = False  # all its cases may be skipped, with their reason: not every kernel can run them
    cwd: Path = ROOT

    @property
    def junit(self) -> Path:
        """Where a step with `cases` leaves its results."""
        return REPORT / f"{self.name.replace(' ', '-')}.xml"

    @property
    def log(self) -> Path:
        """Where the output of a step without `cases` is kept."""
        return REPORT / f"{self.name.replace(' ', '-')}.log"


@dataclass(frozen=True)
class Part:
    """Steps that are run together by one name; all of them run, whatever fails."""

    name: str
    steps: tuple[Step, ...] = field(default_factory=tuple)
    # Run at the same time, with what processor time this one leaves: for computing, beside tests that mostly wait.
    beside: Part | None = None


def sources(*patterns: str) -> tuple[str, ...]:
    """Files of the repository that match, relative to its root; at least one."""
    found = sorted(
        str(path.relative_to(ROOT))
        for pattern in patterns
        for path in ROOT.glob(pattern)
        if path.is_file() and not path.relative_to(ROOT).parts[0].startswith(".")
    )
    if not found:
        raise Nothing(f"no file matches {' '.join(patterns)}")
    return tuple(found)


def tool(name: str, *arguments: str) -> tuple[str, ...]:
    """A command of the virtual environment."""
    return (str(BIN / name), *arguments)


def pytest(name: str, folder: str, limit_s: int, *options: str, root: bool = False) -> Part:
    """A part that is one run of pytest over one folder."""
    step = Step(name, (), limit_s, cases=True, root=root)
    return Part(name, (replace(step, argv=tool("pytest", folder, *options, f"--junitxml={step.junit}")),))


def bpf() -> Part:
    """The BPF programs by themselves, then connections through them in the lab, with less of everything."""
    files = tuple(f"tests/lab/test_{name}.py" for name in BPF_IN_THE_LAB)
    left_out = ("-k", f"not direct- and {ONE_FAMILY}")
    sizes = ("--mode", "bridge", "--engine", "bpf", "--file-mib", "64", "--flood-syns", "100000", *left_out)
    programs = Step("bpf programs", (), 300, cases=True, root=True, optional=True)
    lab = Step("bpf in the lab", (), 900, cases=True, root=True, optional=True)
    return Part(
        "bpf",
        (
            replace(programs, argv=tool("pytest", "tests/bpf", f"--junitxml={programs.junit}")),
            replace(lab, argv=tool("pytest", *files, *sizes, f"--junitxml={lab.junit}")),
        ),
    )


def lab(*options: str) -> Part:
    """Real clients and servers around the box: a router with every test, then a host with those it has the ends for."""
    host = Step("host in the lab", (), 600, cases=True, root=True)
    files = tuple(f"tests/lab/test_{name}.py" for name in HOST_IN_THE_LAB)
    left_out = ("-k", f"not direct- and not flood_of_each_kind and {ONE_FAMILY}")
    sizes = ("--mode", "host", "--file-mib", "64", "--flood-syns", "100000", *left_out)
    return Part(
        "lab",
        (
            *pytest("lab", "tests/lab", 1200, *options, root=True).steps,
            replace(host, argv=tool("pytest", *files, *sizes, f"--junitxml={host.junit}")),
        ),
    )


def guest() -> Part:
    """The lab's tests inside the guest, and VLANs with the bpf engine, for which many a kernel has no interfaces.

    The first run installs its Debian, a minute or two more.
    """
    step = Step("guest", (), 1800, cases=True, root=True)
    vlans = Step("guest VLANs with bpf", (), 900, cases=True, root=True)
    test = ("tests/guest/guest", "test", "--junitxml")
    with_bpf = ("env", "LEVEE_LAB_ENGINE=bpf", *test, str(vlans.junit), "--", "tests/lab/test_vlan.py")
    return Part("guest", (replace(step, argv=(*test, str(step.junit))), replace(vlans, argv=with_bpf)))


def guest_build() -> Part:
    """The guest's Debian with the product in it: a minute or two where there is none yet. The guest's tests need it."""
    return Part("guest build", (Step("guest build", ("tests/guest/guest", "build"), 900, root=True),))


def kernels() -> Part:
    """The bpf engine on the kernels of Debian 12 and 13: programs load, and connections pass in VLANs and without."""
    files = (f"tests/{name}.py" for name in ("bpf/test_verifier", "bpf/test_ring", "lab/test_vlan", "lab/test_traffic"))
    chosen = ("--", *files, "-m", "not deep", "-k", "not hundred_connections and not flood and not direct-")
    steps = []
    for kernel in ("bookworm", "trixie"):
        step = Step(f"kernel of {kernel}", (), 3600, cases=True, root=True)
        guest_test = ("tests/guest/guest", "test", "--kernel", kernel, "--time-limit", "3000", "--junitxml")
        steps.append(replace(step, argv=("env", "LEVEE_LAB_ENGINE=bpf", *guest_test, str(step.junit), *chosen)))
    return Part("kernels", tuple(steps))


def behaviour() -> Part:
    """Every test of the lab with every engine and mode that this machine or the guest can run."""
    native = Step("lab with bpf", (), 1800, cases=True, root=True, optional=True)
    arguments = ("--mode", "bridge", "--engine", "bpf", "--file-mib", "64", "--flood-syns", "100000")
    emulated = Step("guest all", (), 5400, cases=True, root=True)
    emulated_bpf = Step("guest with bpf", (), 5400, cases=True, root=True)
    guest_test = ("tests/guest/guest", "test", "--time-limit", "5000", "--junitxml")
    return Part(
        "behaviour",
        (
            *lab().steps,
            replace(native, argv=tool("pytest", "tests/lab", *arguments, f"--junitxml={native.junit}")),
            replace(emulated, argv=(*guest_test, str(emulated.junit), "--", "tests/lab")),
            replace(
                emulated_bpf,
                argv=("env", "LEVEE_LAB_ENGINE=bpf", *guest_test, str(emulated_bpf.junit), "--", "tests/lab"),
            ),
        ),
    )


def unit() -> Part:
    """Unit tests."""
    return pytest("unit", "tests/unit", 300)


def screens() -> Part:
    """The terminal interface, compared with its pictures."""
    return pytest("screens", "tests/screens", 300)


def fuzz() -> Part:
    """Every fuzz target for some seconds."""
    return pytest("fuzz", "tests/fuzz", 900)


def fuzz_and_screens() -> Part:
    """Both, one after the other: what computes for long and waits for nobody."""
    return Part("fuzz and screens", (*fuzz().steps, *screens().steps))


def extension_modules() -> tuple[str, ...]:
    """Dotted names of the Cython modules, one for each typed stub."""
    return tuple(path.removesuffix(".pyi").replace("/", ".") for path in sources("cext/*.pyi"))


def lint() -> Part:
    """Format, lint, types, stubs, import contracts, pins. Nothing here runs the product."""
    c_files = sources("cext/**/*.h", "cext/**/*.c", "tests/**/*.h", "tests/**/*.c")
    headers = sources("cext/core/*.h")
    # -P: the stubs are compared with the installed modules, not with the source folder.
    stubtest = (sys.executable, "-P", "-m", "mypy.stubtest", "--concise", "--ignore-disjoint-bases")
    # SC2187: Debian 12's shellcheck does not know busybox's shell by name.
    scripts = sources(
        "tools/setup",
        "tools/build",
        ".ci/run",
        "tests/guest/guest",
        "image/image",
        "image/root/usr/lib/levee/bin/levee-grow",
        "image/deb/*",
        "**/*.sh",
    )
    warnings = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c-header")
    # Where the host's own <asm/types.h> is, which another target does not look for.
    include = f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    packet_logic = tuple(f"cext/core/{name}.h" for name in PACKET_LOGIC)
    return Part(
        "lint",
        (
            Step("python format", tool("ruff", "format", "--check", "."), 60),
            Step("python lint", tool("ruff", "check", "."), 60),
            Step("types", tool("mypy"), 180),
            Step("stubs", (*stubtest, *extension_modules()), 120, cwd=REPORT),
            Step("import contracts", tool("lint-imports", "--cache-dir", str(BUILD / "imports")), 60),
            Step("cython lint", tool("cython-lint", "cext"), 60),
            Step("c format", (CLANG_FORMAT, "--dry-run", "-Werror", *c_files), 60),
            Step("c headers", (CLANG, *warnings, *headers), 60),
            Step("c headers in bpf", (CLANG, "-target", "bpf", "-isystem", include, *warnings, *packet_logic), 60),
            Step("shell lint", ("shellcheck", "--exclude=SC2187", *scripts), 60),
            Step("pins", (sys.executable, "tools/pins.py"), 60),
            Step("generated docs", (sys.executable, "tools/docs.py", "--check"), 60),
            Step("behaviour list", (sys.executable, "tools/behaviour.py", "--check"), 60),
        ),
    )


def parts(name: str) -> tuple[Part, ...]:
    """The parts behind one name of the command line: `check`, `test`, or a single part."""
    single: dict[str, Callable[[], Part]] = {
        "lint": lint,
        "unit": unit,
        "screens": screens,
        "property": lambda: pytest("property", "tests/property", 300),
        "differential": lambda: pytest("differential", "tests/differential", 300),
        "bpf": bpf,
        "fuzz": fuzz,
        "lab": lambda: lab("-k", ONE_FAMILY),
        "guest": guest,
    }
    groups = {
        "check": ("lint", "unit"),
        "test": ("lint", "unit", "property", "differential", "bpf", "lab", "guest"),  # and what runs beside them
    }
    if name == "test":
        single["bpf"] = lambda: replace(bpf(), beside=guest_build())
        single["lab"] = lambda: replace(lab("-k", ONE_FAMILY), beside=fuzz_and_screens())
    single["behaviour"] = behaviour  # by name only: an hour and more
    single["kernels"] = kernels  # by name only: two boots in emulation, one with another kernel
    if name not in single and name not in groups:
        raise Nothing(f"no part is called {name}; there are {', '.join([*groups, *single])}")
    return tuple(single[part]() for part in groups.get(name, (name,)))
