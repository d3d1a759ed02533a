"""The binaries of the testbed, built once from Go modules into the user's cache.

`python -m testbed.binaries` builds all of them.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"
PROGRESS_EVERY = 15.0
KUBERNETES = "v1.35.4"
HELM = "v4.3.1"
_STRIP = "-s -w"
_KUBERNETES_VERSION = (
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}"
    " -X k8s.io/component-base/version.gitMajor=1"
    " -X k8s.io/component-base/version.gitMinor=35"
    " -X k8s.io/component-base/version.gitTreeState=clean"
)


class BuildError(RuntimeError):
    """A binary could not be built; the message contains the end of the build log."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A binary: the module that pins its version, the package to build, linker flags and build tags."""

    module: str
    package: str
    link: str = _STRIP
    tags: str = ""


BUILT = {
    "etcd": Tool("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": Tool("k8s", "k8s.io/kubernetes/cmd/kube-apiserver", f"{_STRIP} {_KUBERNETES_VERSION}"),
    "kube-controller-manager": Tool(
        "k8s", "k8s.io/kubernetes/cmd/kube-controller-manager", f"{_STRIP} {_KUBERNETES_VERSION}"
    ),
    "kube-scheduler": Tool("k8s", "k8s.io/kubernetes/cmd/kube-scheduler", f"{_STRIP} {_KUBERNETES_VERSION}"),
    "kubectl": Tool("k8s", "k8s.io/kubernetes/cmd/kubectl", f"{_STRIP} {_KUBERNETES_VERSION}"),
    "kwok": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    # Without this, helm reports version "v4.3", which is not SemVer.
    "helm": Tool("helm", "helm.sh/helm/v4/cmd/helm", f"{_STRIP} -X helm.sh/helm/v4/internal/version.version={HELM}"),
    "registry": Tool("registry", "."),
    # Service discovery, with its cloud clients, would be half of the build.
    "promtool": Tool("promtool", "github.com/prometheus/prometheus/cmd/promtool", tags="remove_all_sd"),
}
# The asset directory of controller-runtime's envtest contains these three.
ENVTEST = ("kube-apiserver", "etcd", "kubectl")


def ensure(*names: str) -> dict[str, Path]:
    """Return the path of each named binary (without names: of all), building those that are missing."""
    names = names or tuple(BUILT)
    found = {name: path for name in names if (path := _provided(name) or _cached(name))}
    missing = [name for name in names if name not in found]
    if missing:
        found |= _build(missing)
    return {name: found[name] for name in names}


def folder() -> Path:
    """Return the cache directory for exactly these versions, flags and modules."""
    digest = hashlib.sha256(f"{sys.platform} {platform.machine()} {sorted(BUILT.items())}".encode())
    for path in sorted(TOOLS.glob("*/*")):
        digest.update(f"{path.relative_to(TOOLS)}\0".encode())
        digest.update(path.read_bytes())
    return cache() / digest.hexdigest()[:16]


def cache() -> Path:
    """Return the directory in the user's cache that has a directory for each set of versions."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "cilium-hybrid-operator" / "testbed"


def _provided(name: str) -> Path | None:
    """Return the binary that an environment variable selects, None if there is none."""
    if name == "helm" and (helm := os.environ.get("HELM")):
        if found := shutil.which(helm):
            return Path(found).resolve()
        raise BuildError(f"HELM={helm}: not an executable program")
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ENVTEST and (path := Path(assets, name)).exists():
        return path.resolve()
    return None


def _cached(name: str) -> Path | None:
    path = folder() / name
    return path if path.exists() else None


def _build(names: list[str]) -> dict[str, Path]:
    with build_lock(folder()):
        built = {}
        for position, name in enumerate(names, start=1):
            # Another process may have built it while this one waited for the lock.
            built[name] = _cached(name) or build(BUILT[name], folder() / name, f"{position} of {len(names)}")
        return built


def build(tool: Tool, target: Path, position: str) -> Path:
    """Build a program and return its path; `position` is for the progress messages. Needs `build_lock`."""
    go, name = shutil.which("go"), target.name
    if go is None:
        raise BuildError(f"cannot build {name}: go not found on PATH; install Go")
    unfinished = target.with_suffix(f".{os.getpid()}")
    log = target.with_suffix(".log")
    flags = ["-trimpath", "-ldflags", tool.link, "-o", str(unfinished), "-tags", tool.tags]
    command = [go, "build", *flags, tool.package]
    # The user's flags and workspaces would build different binaries under the same cache key.
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    started = time.monotonic()
    with log.open("wb") as output:
        compiler = subprocess.Popen(
            command, cwd=TOOLS / tool.module, env=os.environ | settings, stdout=output, stderr=output
        )
        try:
            while True:
                _log(f"building {name} ({position}), {time.monotonic() - started:.0f} s")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    compiler.wait(PROGRESS_EVERY)
                    break
        finally:
            compiler.kill()
            compiler.wait()
    if compiler.returncode != 0:
        unfinished.unlink(missing_ok=True)
        raise BuildError(f"go build of {name} failed:\n{log.read_text(errors='replace')[-3000:]}")
    # A rename is atomic, so no process ever starts an incomplete binary.
    unfinished.rename(target)
    log.unlink()
    return target


@contextlib.contextmanager
def build_lock(directory: Path) -> Iterator[None]:
    """Let one process build at a time; concurrent builds would only compile the same packages twice."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log("another process is building; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _log(text: str) -> None:
    print(f"testbed: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Build all binaries and print their directory, or build one and print its path."""
    parser = argparse.ArgumentParser(prog="python -m testbed.binaries", description=__doc__)
    parser.add_argument("--print", choices=BUILT, metavar="NAME", help="build one binary and print its path")
    name = parser.parse_args().print
    try:
        paths = ensure(name) if name else ensure()
    except BuildError as error:
        _log(str(error))
        return 1
    print(paths[name] if name else folder())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
