"""Build the image without an image registry, on base images made of Debian packages.

`python -m image.build FOLDER` writes `rootfs` and `config.json` into the folder, for the tests.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = "trixie"
PYTHON = "python3.13"
PACKAGES = ("buildah", "mmdebstrap")
IMAGE = "localhost/cilium-hybrid-operator:test"


class BuildError(RuntimeError):
    """The image could not be built; the message is the cause."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base image: the arguments of mmdebstrap for a substitute of a base image in the Dockerfile."""

    name: str
    variant: str
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()


# Packages are only extracted: no shell and no package manager, as in the distroless image that it replaces.
# Maintainer scripts, which would bundle the CA certificates and link python3, do not run.
RUNTIME = Base(
    "runtime",
    "extract",
    ("base-files", "ca-certificates", "libstdc++6", PYTHON),
    (
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        '--customize-hook=cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"',
        '--customize-hook=rm -rf "$1/etc/resolv.conf" "$1/etc/hostname" "$1/var/lib/apt" "$1/var/cache/apt"',
    ),
)
BUILD = Base("build", "minbase", ("ca-certificates", "python3", "python3-venv"))


@dataclass(frozen=True, slots=True)
class Buildah:
    """Buildah with its own store, which needs neither a daemon nor overlayfs."""

    store: Path

    @property
    def command(self) -> tuple[str, ...]:
        """The command with the options of every call."""
        places = ("--root", f"{self.store}/root", "--runroot", f"{self.store}/run")
        return ("buildah", *places, "--storage-driver", "vfs")

    def __call__(self, *arguments: str | Path) -> str:
        """Run buildah and return its output."""
        return _run([*self.command, *map(str, arguments)], capture=True)

    def import_archive(self, archive: Path, base: Base, config: Sequence[str]) -> str:
        """Create an image from the archive of a root; return its name."""
        name = f"localhost/{base.name}:{SUITE}"
        container = self("from", "scratch")
        self("add", "--quiet", container, archive, "/")
        self("config", *config, container)
        self("commit", "--quiet", "--rm", container, name)
        return name


def build(folder: Path) -> None:
    """Build the image with `make image` and write its root and its configuration into the folder."""
    _need_programs()
    started = time.monotonic()
    buildah = Buildah(folder / "store")
    go_root, path = _run(["go", "env", "GOROOT"], capture=True), os.defpath
    # Go of this machine, mounted at its path in the Go image.
    config = ("--env", f"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin:{path}", "--env", "GOPATH=/go")
    tools = buildah.import_archive(_archive(BUILD), BUILD, config)
    runtime = buildah.import_archive(_archive(RUNTIME), RUNTIME, ())
    _say(f"base images ready after {time.monotonic() - started:.0f} s")

    # buildah keeps the cache mounts of the Dockerfile here, so that the next build does not compile everything again.
    caches = _cache() / "caches"
    caches.mkdir(exist_ok=True)
    started = time.monotonic()
    settings = {
        "IMAGE": IMAGE,
        "ENGINE": " ".join(buildah.command),
        "ENGINE_FLAGS": f"--isolation chroot --network host --pull-never --volume {go_root}:/usr/local/go:ro",
        "GO_IMAGE": tools,
        "PYTHON_IMAGE": tools,
        "BASE_IMAGE": runtime,
        "TMPDIR": str(caches),
    }
    _run(["make", "--no-print-directory", "-C", str(ROOT), "image"], env=settings)
    seconds = time.monotonic() - started

    container = buildah("from", "--pull-never", IMAGE)
    (folder / "rootfs").symlink_to(buildah("mount", container))
    inspected = json.loads(buildah("inspect", "--type", "image", IMAGE))
    (folder / "config.json").write_text(json.dumps(inspected["OCIv1"]["config"], indent=1))
    size = buildah("images", "--format", "{{.Size}}", IMAGE)
    _say(f"built in {seconds:.0f} s, {size}")


def _archive(base: Base) -> Path:
    """Return the archive of a base image, built at most once a day: it has the newest packages of Debian."""
    key = hashlib.sha256(f"{SUITE} {base} {time.strftime('%F')}".encode()).hexdigest()[:16]
    archive = _cache() / f"{base.name}-{key}.tar"
    if not archive.exists():
        for old in _cache().glob(f"{base.name}-*.tar"):
            old.unlink()
        _say(f"building the {base.name} base image from Debian {SUITE}")
        unfinished = archive.with_suffix(f".{os.getpid()}.tar")
        include = f"--include={','.join(base.packages)}"
        _run(
            [
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                f"--variant={base.variant}",
                include,
                *base.options,
                SUITE,
                str(unfinished),
            ]
        )
        # A rename is atomic: no other build ever sees a partial archive.
        unfinished.rename(archive)
    return archive


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "cilium-hybrid-operator" / "image"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _need_programs() -> None:
    if os.geteuid() != 0:
        raise BuildError("root is required to build the base images and to run the image")
    if shutil.which("go") is None:
        raise BuildError("go is not on PATH; it replaces the Go image of the Dockerfile")
    missing = [name for name in PACKAGES if shutil.which(name) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise BuildError(f"{' and '.join(missing)} not found, and there is no apt-get to install them")
    _say(f"installing {' and '.join(missing)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "--quiet=2"], env=quiet)
    _run(["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", *missing], env=quiet)


def _run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, capture: bool = False) -> str:
    """Run a command; return its output if `capture`, otherwise show it. Raise BuildError."""
    done = subprocess.run(
        argv, env=os.environ | (env or {}), stdout=subprocess.PIPE if capture else None, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(argv[:2])} exited with {done.returncode}")
    return (done.stdout or "").strip()


def _say(text: str) -> None:
    print(f"image: {text}", file=sys.stderr, flush=True)  # noqa: T201 - output of a command-line program


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m image.build", description=__doc__)
    parser.add_argument("folder", type=Path)
    try:
        build(parser.parse_args().folder.resolve())
    except BuildError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
