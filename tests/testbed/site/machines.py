"""Machines of a site: network, mount and PID namespaces, on one network with a router."""

from collections.abc import Sequence
from pathlib import Path

from testbed.pki import SITE_ADDRESSES
from testbed.processes import Process, run, wait_until

HERE = Path(__file__).parent
SERVICE_ADDRESS, ROUTER_ADDRESS = SITE_ADDRESSES
PREFIX = 16
BRIDGE = "site"
START_LIMIT = 20.0


class Router:
    """The network of a site, in a network namespace of its own: sites do not see each other."""

    def __init__(self, folder: Path, *, detached: bool) -> None:
        self.process = Process("router", ["unshare", "--net", "sleep", "infinity"], folder, detached=detached)

    def start(self) -> None:
        """Start the network."""
        self.process.start()
        own = Path("/proc/self/ns/net").readlink()
        wait_until(
            lambda: Path(f"/proc/{pid(self.process)}/ns/net").readlink() != own,
            timeout=START_LIMIT,
            what="the network of the site exists",
            needs=[self.process],
        )
        for command in (
            ("ip", "link", "set", "lo", "up"),
            ("ip", "link", "add", BRIDGE, "type", "bridge"),
            ("ip", "address", "add", f"{ROUTER_ADDRESS}/{PREFIX}", "dev", BRIDGE),
            ("ip", "link", "set", BRIDGE, "up"),
        ):
            self.run(*command)

    def run(self, *command: str) -> str:
        """Run a command in the network of the router."""
        return run(["nsenter", f"--net=/proc/{pid(self.process)}/ns/net", "--", *command], env={})


class Machine:
    """A computer in the site: its own network and files, with the BPF file system that a reboot empties."""

    def __init__(self, name: str, address: str, folder: Path, router: Router, *, detached: bool) -> None:
        self.name = name
        self.address = address
        self._router = router
        self._port = f"port-{name[-4:]}"
        self._shared = folder
        self._folder = folder / f"machine-{name}"
        # With its first process, the kernel ends every process of the machine.
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        argv += ["sh", str(HERE / "machine.sh"), str(self._folder)]
        self._argv = argv
        self.process = Process(f"machine-{name}", argv, folder, detached=detached)

    def start(self, shared: Sequence[Path], api_server_port: int) -> None:
        """Boot the machine, connect it and forward the ClusterIP of the API server, as kube-proxy would."""
        self._folder.mkdir(exist_ok=True)
        self.process.argv = [*self._argv, str(self._shared), *map(str, shared)]
        self.process.start()
        wait_until(
            lambda: (self.root / "host" / "proc").is_symlink() and not (self.root / ".before").exists(),
            timeout=START_LIMIT,
            what=f"machine {self.name} has booted",
            needs=[self.process],
        )
        self._router.run(
            *("ip", "link", "add", self._port, "type", "veth", "peer", "name", "eth0"),
            *("netns", str(pid(self.process))),
        )
        self._router.run("ip", "link", "set", self._port, "master", BRIDGE, "up")
        for command in (
            ("ip", "address", "add", f"{self.address}/{PREFIX}", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
            ("ip", "route", "add", "default", "via", ROUTER_ADDRESS),
            ("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"),
            # Only for the machine's own processes: Cilium balances the Services of pods.
            f"iptables -t nat -A OUTPUT -d {SERVICE_ADDRESS} -p tcp --dport 443 -j DNAT "
            f"--to-destination {ROUTER_ADDRESS}:{api_server_port}".split(),
        ):
            self.run(*command)

    def cut_off(self) -> None:
        """Unplug the machine from the network."""
        self._router.run("ip", "link", "set", self._port, "down")

    def plug_in(self) -> None:
        """Undo `cut_off`."""
        self._router.run("ip", "link", "set", self._port, "up")

    def enter(self) -> list[str]:
        """Return the start of a command line that runs in the machine."""
        namespaces = f"/proc/{pid(self.process)}/ns"
        inside = (f"--net={namespaces}/net", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children")
        return ["nsenter", *inside, "--"]

    def run(self, *command: str) -> str:
        """Run a command in the machine and return its output; raise `CommandError` with its stderr."""
        return run([*self.enter(), *command], env={})

    @property
    def root(self) -> Path:
        """The files of the machine, as seen from this computer."""
        return Path(f"/proc/{pid(self.process)}/root")


def pid(process: Process) -> int:
    """Return the ID of a process that was started."""
    if process.identity is None:
        raise RuntimeError(f"{process.name} was not started")
    return process.identity.pid
