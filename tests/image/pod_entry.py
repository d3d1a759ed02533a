"""The first process of a container: changes the root, mounts the volumes, drops privileges and runs the program.

Runs under `unshare --mount --pid --fork` with the JSON file that `container.py` wrote. It leaves nothing behind: the
mounts disappear with their namespace.
"""

import ctypes
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

# linux/mount.h and linux/prctl.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9)}
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: str, flags: int, *, source: str = "none", options: str = "") -> None:
    """Mount a file system; raise OSError."""
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def prctl(option: int, argument: int) -> int:
    """Change an attribute of this process; return 0, or -1 on failure."""
    return int(LIBC.prctl(option, ctypes.c_ulong(argument), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def enter(pod: dict[str, Any]) -> None:
    """Change to the root of the image and mount the volumes; adds only empty mount points to the image."""
    mount("none", pod["rootfs"], MS_BIND, source=pod["rootfs"])
    os.chdir(pod["rootfs"])
    # Before any other mount: symbolic links in the image must not lead out of it.
    os.chroot(".")
    mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", "/dev", MS_NOSUID, options="mode=755")
    for name, numbers in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(*numbers))
        Path("/dev", name).chmod(0o666)
    for path, size in pod["volumes"].items():
        Path(path).mkdir(parents=True, exist_ok=True)
        # As the kubelet creates an emptyDir for an fsGroup.
        mount("tmpfs", path, MS_NOSUID | MS_NODEV, options=f"mode=2777,gid={pod['gid']},size={size}")
    for path, files in pod["secrets"].items():
        Path(path).mkdir(parents=True, exist_ok=True)
        mount("tmpfs", path, MS_NOSUID | MS_NODEV | MS_NOEXEC, options="mode=755")
        for name, text in files.items():
            Path(path, name).write_text(text)
            Path(path, name).chmod(0o640)
            os.chown(Path(path, name), 0, pod["gid"])
        mount("none", path, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("none", "/", MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chdir(pod["folder"])


def drop_privileges(pod: dict[str, Any]) -> None:
    """Drop root and all capabilities, for this process and every program that it runs."""
    capability = 0
    while prctl(PR_CAPBSET_DROP, capability) == 0:
        capability += 1
    os.setgroups([pod["gid"]])
    os.setresgid(pod["gid"], pod["gid"], pod["gid"])
    os.setresuid(pod["uid"], pod["uid"], pod["uid"])
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # A change of user clears the death signal that unshare set.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run the program of the file."""
    pod = json.loads(Path(sys.argv[1]).read_text())
    enter(pod)
    drop_privileges(pod)
    os.execvpe(pod["argv"][0], pod["argv"], pod["env"])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
