"""What stands for images: the folder with the programs of a version of Cilium, or the programs of the machine."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from testbed.site.kubelet.container import ImageError
from testbed.site.kubelet.sandbox import CNI_PLUGINS

BPF = "/var/lib/cilium/bpf"
CNI = "cilium-cni"
# It does not exist if the kernel cannot load modules.
MODULES = Path("/proc/modules")
# The same as /proc, mounted once more.
PROC = Path("/run/proc")


class Images:
    """The versions of Cilium that can run, by minor version; `folder` is for files that their containers see."""

    def __init__(self, programs: Mapping[str, Path], folder: Path) -> None:
        self._programs = programs
        self._proc = None if MODULES.exists() else _proc_with_modules(folder / "proc")

    def programs(self, image: str) -> Path | None:
        """Return the folder with the programs of an image, None if it is none of Cilium; raise `ImageError`.

        A patch that was not built is run by the one of its minor version that was.
        """
        name, tag = _parse(image)
        if not name.startswith("cilium") and "operator" not in name:
            return None
        found = re.match(r"v?(\d+\.\d+)\.\d+", tag)
        folder = None if found is None or "broken" in image else self._programs.get(found[1])
        if folder is None:
            raise ImageError(f'failed to pull and unpack image "{image}": failed to resolve reference: not found')
        return folder

    def mounts(self, image: str) -> Mapping[str, str]:
        """Return the folders that an image brings along, by path."""
        programs = self.programs(image)
        if programs is None:
            return {}
        return {BPF: str(programs / "bpf")} | ({} if self._proc is None else {"/proc": str(self._proc)})

    def install_cni(self, image: str) -> None:
        """Copy the CNI plugin of an image to the machine, as its script does."""
        programs = self.programs(image)
        if programs is not None:
            CNI_PLUGINS.mkdir(parents=True, exist_ok=True)
            unfinished = CNI_PLUGINS / f".{CNI}.new"
            shutil.copy(programs / CNI, unfinished)
            unfinished.replace(CNI_PLUGINS / CNI)


def _proc_with_modules(folder: Path) -> Path:
    """Return a folder that is like /proc and has a list of modules, without which the agent of 1.17 does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in PROC.iterdir():
        link = folder / entry.name
        if not entry.name.isdigit() and not link.is_symlink():
            link.symlink_to(entry)
    (folder / MODULES.name).touch()
    return folder


def _parse(image: str) -> tuple[str, str]:
    """Return the last part of the name of an image, and its tag."""
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return name, tag
