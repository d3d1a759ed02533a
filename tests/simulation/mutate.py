"""The command line of `make simulate-mutants`: put each fault back, and see that something finds it.

A mutant is a patch in `mutants/` against the package. The lines before the patch are its head: `fault:` names the
fault, `focus:` what its histories are about, `seed:` with which of them to begin, and `test:` is a test that
must find it if the simulation does not, or cannot because there is no focus. A violation only counts if the package
without the patch does not have it in the same history.
"""

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from simulation.focus import parse_focus
from simulation.run import run_seed

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).parent / "mutants"
SECONDS = 60
IGNORED = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".mypy_cache", ".hypothesis")
LINKED = ("pyproject.toml", "crds", "deploy", "docs", "Makefile", "image")
FAULTS = (
    *("1", "2a", "2b", "3", "4", "5", "6a", "6b", "7a", "7b", "8", "9", "10", "11", "12", "13", "14", "15a", "15b"),
    *(
        "16",
        "17",
        "18a",
        "18b",
        "18c",
        "19a",
        "19b",
        "19c",
        "19d",
        "20a",
        "20b",
        "20c",
        "21a",
        "21b",
        "22a",
        "22b",
        "22c",
    ),
    *("22d", "22e", "22f"),
)
"""The numbers of the faults that must have a mutant."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch, the fault that it puts back, what its histories are about, and a test that finds it; empty if none."""

    path: Path
    fault: str
    focus: str
    test: str
    seed: int

    @classmethod
    def read(cls, path: Path) -> "Mutant":
        """Read the head of a patch."""
        head = dict(re.findall(r"^(fault|focus|seed|test): (.*)$", path.read_text(), re.MULTILINE))
        return cls(path, head["fault"], head.get("focus", ""), head.get("test", ""), int(head.get("seed", 1)))

    @property
    def number(self) -> str:
        """The number of the fault."""
        return self.fault.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What found a mutant, None if nothing did, why it could not be tried, and the seconds that it took."""

    mutant: Mutant
    found_by: str | None
    seconds: float
    problem: str = ""

    def __str__(self) -> str:
        """Return a line of the table."""
        found = self.problem or self.found_by or "NOT FOUND"
        return f"{self.mutant.path.stem:26} {found:66} {self.seconds:4.0f} s  {self.mutant.fault}"


def try_mutant(mutant: Mutant, seconds: float) -> Outcome:
    """Run what must find a mutant in a copy of the package with the patch."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "operator", folder / "operator", ignore=IGNORED)
        command = ["git", "apply", "--unidiff-zero", "--whitespace=nowarn", str(mutant.path)]
        applied = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if applied.returncode:
            return Outcome(mutant, None, 0.0, "DOES NOT APPLY")
        try:
            found = _simulate(mutant, folder, seconds) if mutant.focus else None
            if found is None and mutant.test:
                found = _run_test(mutant.test, folder)
        except RuntimeError as error:
            return Outcome(mutant, None, time.monotonic() - started, str(error))
    return Outcome(mutant, found, time.monotonic() - started)


def _simulate(mutant: Mutant, folder: Path, seconds: float) -> str | None:
    command = [sys.executable, "-m", "simulation.hunt", "--seed", str(mutant.seed), "--seconds", str(seconds)]
    environment = _environment(folder / "operator", ROOT / "tests")
    focus = parse_focus(mutant.focus)
    with subprocess.Popen(
        [*command, "--focus", mutant.focus], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                number, violated = json.loads(line)
                if not run_seed(number, focus).violated:
                    return f"invariant {violated} (seed {number})"
            if process.wait():
                raise RuntimeError("THE SIMULATION DOES NOT RUN")
        finally:
            process.kill()
    return None


def _run_test(test: str, folder: Path) -> str | None:
    """Return the test if it fails with the patch, and passes without it; RuntimeError."""
    started = time.monotonic()
    if not _passes(test, ROOT):
        raise RuntimeError("THE TEST FAILS WITHOUT THE PATCH")
    limit = max(SECONDS, 5 * (time.monotonic() - started))
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=IGNORED)
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return None if _passes(test, folder, limit) else f"test {test.rpartition('::')[2]}"


def _passes(test: str, folder: Path, limit: float | None = None) -> bool:
    """Return whether a test passes with the package in a folder, within so many seconds; RuntimeError."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    environment = _environment(folder / "operator", folder / "tests")
    try:
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return False
    if ran.returncode not in {0, 1}:
        raise RuntimeError("THE TEST DOES NOT RUN")
    return ran.returncode == 0


def _environment(*paths: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ":".join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all mutants, or those whose name contains a word, and print a line for each; return 1 if one is not found."""
    parser = argparse.ArgumentParser(prog="python -m simulation.mutate")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time, for each mutant")
    parser.add_argument("--processes", type=int, default=2, help="how many mutants to try at the same time")
    options = parser.parse_args(arguments)
    mutants = [Mutant.read(path) for path in sorted(MUTANTS.glob("*.patch"))]
    chosen = [mutant for mutant in mutants if not options.words or any(w in mutant.path.stem for w in options.words)]
    missed = 0
    with ProcessPoolExecutor(options.processes, initializer=logging.disable) as pool:
        tries = [pool.submit(try_mutant, mutant, options.seconds) for mutant in chosen]
        for ended in as_completed(tries):
            outcome = ended.result()
            missed += outcome.found_by is None
            print(outcome, flush=True)  # noqa: T201 # a command
    print(f"{len(chosen) - missed} of {len(chosen)} mutants found")  # noqa: T201
    missing = [number for number in FAULTS if number not in {mutant.number for mutant in mutants}]
    if missing:
        print(f"no mutant for {', '.join(missing)}")  # noqa: T201
    return 1 if missed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
