"""The programs, the BPF sources and the chart of Cilium, taken from its Go module and kept in the user's cache.

`python -m testbed.site.programs 1.18` builds those of a minor version.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries
from testbed.binaries import BuildError, Tool
from testbed.processes import CommandError, run

MODULES = Path(__file__).parent / "modules"
MODULE = "github.com/cilium/cilium"
PACKAGES = {
    "cilium-agent": "daemon",
    "cilium-operator-generic": "operator",
    "cilium-dbg": "cilium-dbg",
    "cilium-cni": "plugins/cilium-cni",
    "cilium-health-responder": "cilium-health/responder",
}
LINK = f"-s -w -X {MODULE}/pkg/version.ciliumVersion="
TAGS = "ipam_provider_operator"
# The agent compiles its BPF programs with these.
COMPILERS = ("clang", "llc")
COMPILER_VERSION = "19"
COMMANDS = ("bpftool", "ip", "iptables", "ipset", "modprobe", "nsenter", "unshare")
PACKAGES_OF_COMMANDS = "bpftool iproute2 iptables ipset kmod util-linux"
BTF = Path("/sys/kernel/btf/vmlinux")


class MissingError(RuntimeError):
    """Real nodes cannot run on this machine; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """One version of Cilium: `folder` contains the programs, `bpf` and the packaged chart."""

    version: str
    folder: Path

    @property
    def bpf(self) -> Path:
        """The BPF sources, which the image of the agent has in /var/lib/cilium/bpf."""
        return self.folder / "bpf"

    @property
    def chart(self) -> Path:
        """The packaged chart of this version."""
        return self.folder / f"cilium-{self.version}.tgz"


def missing() -> str | None:
    """Return why real nodes cannot run on this machine, and how to get what is missing; None if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "real nodes need root on Linux, to create network namespaces and load BPF programs"
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(namespaces, capture_output=True, check=False).returncode != 0:
        return "real nodes need the rights to create namespaces: run outside of a container, or in a privileged one"
    if not BTF.exists():
        return f"real nodes need a kernel with BTF ({BTF} does not exist): use Linux 5.10 or later with BTF"
    wanted = [f"{name}-{COMPILER_VERSION}" for name in COMPILERS] + list(COMMANDS)
    absent = [name for name in wanted if shutil.which(name) is None]
    if absent:
        packages = f"clang-{COMPILER_VERSION} llvm-{COMPILER_VERSION} {PACKAGES_OF_COMMANDS}"
        return f"real nodes need {', '.join(absent)}: apt-get install {packages}"
    return None


def minors() -> tuple[str, ...]:
    """Return the minor versions of Cilium that can be built, oldest first."""
    return tuple(sorted((path.name for path in MODULES.iterdir()), key=lambda name: int(name.partition(".")[2])))


def ensure(minor: str) -> Programs:
    """Return the programs of a minor version, building those that are missing; raise `MissingError` or `BuildError`."""
    if (problem := missing()) is not None:
        raise MissingError(problem)
    programs = cached(minor)
    # The chart is the last file that is written.
    if not programs.chart.exists():
        _build(programs, MODULES / minor)
    return programs


def cached(minor: str) -> Programs:
    """Return where the programs of a minor version are, or will be built."""
    module = MODULES / minor
    found = re.search(rf"{re.escape(MODULE)} v([0-9.]+)", (module / "go.mod").read_text())
    if found is None:
        raise BuildError(f"{module}/go.mod requires no version of {MODULE}")
    settings = (platform.machine(), sorted(PACKAGES.items()), LINK, TAGS, COMPILER_VERSION)
    digest = hashlib.sha256(str(settings).encode())
    for path in sorted(module.iterdir()):
        digest.update(path.read_bytes())
    version = found[1]
    return Programs(version, binaries.cache() / f"cilium-{version}-{digest.hexdigest()[:16]}")


def _build(programs: Programs, module: Path) -> None:
    with binaries.build_lock(programs.folder):
        if programs.chart.exists():
            return
        for position, (name, package) in enumerate(PACKAGES.items(), start=1):
            target = programs.folder / name
            if not target.exists():
                tool = Tool(str(module), f"{MODULE}/{package}", f"{LINK}{programs.version}", TAGS)
                binaries.build(tool, target, f"Cilium {programs.version}: {position} of {len(PACKAGES)}")
        for name in COMPILERS:
            (programs.folder / name).unlink(missing_ok=True)
            (programs.folder / name).symlink_to(str(shutil.which(f"{name}-{COMPILER_VERSION}")))
        source = _source(module)
        shutil.rmtree(programs.bpf, ignore_errors=True)
        # The module's files are read-only, which would make the folder hard to remove.
        shutil.copytree(source / "bpf", programs.bpf, copy_function=shutil.copyfile)
        for folder in (programs.bpf, *(path for path in programs.bpf.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        _package(source / "install" / "kubernetes" / "cilium", programs)


def _source(module: Path) -> Path:
    """Return the folder of Cilium's module in Go's module cache."""
    env = {"GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    try:
        # Built programs may be all that is left of it.
        run(["go", "-C", module, "mod", "download", MODULE], env=env)
        return Path(run(["go", "-C", module, "list", "-m", "-f", "{{.Dir}}", MODULE], env=env).strip())
    except CommandError as error:
        raise BuildError(str(error)) from None


def _package(chart: Path, programs: Programs) -> None:
    unfinished = programs.folder / "chart"
    shutil.rmtree(unfinished, ignore_errors=True)
    helm = binaries.ensure("helm")["helm"]
    try:
        run([helm, "package", chart, "--destination", unfinished], env={})
    except CommandError as error:
        raise BuildError(str(error)) from None
    (unfinished / programs.chart.name).rename(programs.chart)
    unfinished.rmdir()


def main() -> int:
    """Build what the tests on real nodes need; say in one line why they cannot run on this machine."""
    parser = argparse.ArgumentParser(prog="python -m testbed.site.programs", description=__doc__)
    parser.add_argument("minors", nargs="*", default=list(minors()), metavar="MINOR")
    parser.add_argument("--optional", action="store_true", help="succeed on a machine that cannot run real nodes")
    arguments = parser.parse_args()
    try:
        for minor in arguments.minors:
            ensure(minor)
    except MissingError as error:
        print(f"not run: {error}" if arguments.optional else error, file=sys.stderr)
        return 0 if arguments.optional else 1
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
