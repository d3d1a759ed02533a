"""The image, started as in deploy/ and connected to a real API server; `make test-image` builds it and runs this."""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.package import package_all
from e2e.site import Site
from image.container import Container, Image, deployed, in_pod, output_of
from testbed.cluster import Cluster
from testbed.operator import install
from testbed.processes import free_port, wait_until
from testbed.registry import Registry

FOLDER = os.environ.get("IMAGE_FOLDER", "")
USER = 65532
TERMINATION_LIMIT = 10.0
# The name of a compiler may have its target as a prefix and its version as a suffix: x86_64-linux-gnu-gcc-14.
BUILDERS = r"(\w+-linux-gnu-)?(gcc|g\+\+|cc|c\+\+|clang|cpp|ld|as|go|gofmt|make|rustc|cargo|tcc)(-?[\d.]+)?"
FETCHERS = r"pip[\d.]*|uv|easy_install|apt|apt-get|dpkg|curl|wget|git"
SHELLS = r"(|b|d|a|z)(sh|ash)|busybox"
UNWANTED = re.compile(f"{BUILDERS}|{FETCHERS}|{SHELLS}")
PYTHON_INSTALLERS = ("pip", "setuptools", "wheel", "ensurepip", "hatchling")

if not FOLDER:
    pytest.skip("needs an image; run make test-image", allow_module_level=True)


@pytest.fixture(scope="module")
def image() -> Image:
    return Image.read(Path(FOLDER))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    charts = tmp_path_factory.mktemp("charts")
    package_all(charts)
    with Registry.start(tmp_path_factory.mktemp("registry")) as started:
        for archive in sorted(charts.glob("*.tgz")):
            started.push(archive)
        yield started


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=3, cloud=1) as started:
        install(started)
        yield started


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def container(image: Image, cluster: Cluster, registry: Registry, port: int) -> Iterator[Container]:
    # Only the port differs from deploy/: other operators use the same host network here.
    env = {"CILIUM_HYBRID_METRICS_ADDR": f"127.0.0.1:{port}"}
    operator = in_pod(image, cluster, name="operator", env=env, ca=registry.ca_file)
    operator.start()
    yield operator
    operator.stop()


@pytest.fixture(scope="module")
def site(cluster: Cluster, registry: Registry, container: Container) -> Site:
    return Site(cluster, registry, container)


def test_its_configuration_matches_the_deployment(image: Image) -> None:
    pod = deployed()
    (expected,) = pod["containers"]
    env = {variable["name"]: variable.get("value") for variable in expected["env"]}

    assert image.config["User"] == f"{USER}:{USER}"
    assert pod["securityContext"]["runAsUser"] == USER
    assert image.config["Cmd"] == expected["args"]
    assert image.env["CILIUM_HYBRID_CACHE_DIR"] == env["CILIUM_HYBRID_CACHE_DIR"]
    assert expected["securityContext"]["readOnlyRootFilesystem"]
    assert {mount["mountPath"] for mount in expected["volumeMounts"]} == {
        image.env["TMPDIR"],
        "/var/cache/cilium-hybrid",
    }
    assert image.config["Labels"]["org.opencontainers.image.version"]
    assert image.config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_contains_no_compiler_installer_or_shell(image: Image) -> None:
    programs = {path.name for path in _programs(image.rootfs)}
    modules = {path.name for path in image.rootfs.rglob("*-packages/*")} | {
        path.name for path in image.rootfs.glob("usr/lib/python3*/*")
    }

    assert {"helm", "cilium-hybrid"} <= programs
    assert {"kopf", "asyncio"} <= modules
    assert not {name for name in programs if UNWANTED.fullmatch(name)}
    assert not {name for name in modules if name.split("-")[0] in PYTHON_INSTALLERS}


def test_its_user_can_write_only_the_cache(image: Image) -> None:
    """Even with a writable root the operator cannot change the programs that it runs."""
    writable = {
        f"/{path.relative_to(image.rootfs)}"
        for path in image.rootfs.rglob("*")
        if not path.is_symlink() and ((facts := path.stat()).st_mode & 0o002 or USER in {facts.st_uid, facts.st_gid})
    }

    assert {path for path in writable if not path.startswith("/dev/")} <= {
        "/tmp",
        "/var/tmp",
        "/run/lock",
        "/var/cache/cilium-hybrid",
        "/var/lock",
    }


def test_it_can_write_only_to_its_volumes(image: Image, cluster: Cluster, registry: Registry) -> None:
    """Tries, in the container, to create a file in every directory."""
    attempt = (
        "import errno, os\n"
        "written, refusals = [], set()\n"
        "for folder, _, _ in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/dev')): continue\n"
        "    try:\n"
        "        open(folder + '/.attempt', 'x').close(); written.append(folder)\n"
        "    except OSError as error: refusals.add(errno.errorcode[error.errno])\n"
        "print(sorted(written), sorted(refusals), os.getuid(), os.getgid(), os.getpid())\n"
    )
    probe = in_pod(
        image, cluster, name="probe", env={}, ca=registry.ca_file, argv=["/opt/cilium-hybrid/bin/python", "-c", attempt]
    )

    text = output_of(probe)

    assert text.strip() == f"['/tmp', '/var/cache/cilium-hybrid'] ['EROFS'] {USER} {USER} 1"


def test_it_reconciles(site: Site, container: Container, port: int) -> None:
    wait_until(lambda: _answers(port, "readyz"), timeout=30, what="the readiness probe to succeed", needs=[container])

    site.apply()
    site.wait_for("InSync", ready="True")

    assert site.revisions() == [(1, "deployed")]
    assert len(site.agents()) == 3
    assert _answers(port, "healthz")


def test_it_observes_a_change_immediately(site: Site) -> None:
    """Through the watch of kopf, which must find the API server without cluster DNS: the host network has none."""
    site.apply(ipam={"podCIDRs": ["10.85.0.0/16", "10.86.0.0/16"], "maskSize": 25})
    site.wait_for("InSync", ready="True", timeout=30)

    assert site.revisions() == [(1, "superseded"), (2, "deployed")]
    assert site.calls("list", "ciliumhybrids")


def test_it_has_no_privileges_on_the_machine(container: Container) -> None:
    process = Path(f"/proc/{container.first.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    mounts = [line.split() for line in (process / "mounts").read_text().splitlines()]
    writable = {target for _, target, _, options, *_ in mounts if "rw" in options.split(",")}

    assert status["Uid"].split() == status["Gid"].split() == [str(USER)] * 4
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert writable == {"/proc", "/dev", "/tmp", "/var/cache/cilium-hybrid"}


def test_it_exits_on_sigterm(container: Container) -> None:
    """The last test: the others use the same container."""
    code = container.terminate(limit=TERMINATION_LIMIT)

    assert code == 0, container.tail(40)


def _programs(rootfs: Path) -> Iterator[Path]:
    """Yield every executable file; a link counts by its name."""
    for path in rootfs.rglob("*"):
        if path.is_symlink() or (path.is_file() and path.stat().st_mode & 0o111):
            yield path


def _answers(port: int, probe: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{probe}", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as refusal:
        # The error holds the connection.
        refusal.close()
        return False
