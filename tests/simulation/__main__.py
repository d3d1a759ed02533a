"""The command line of `make simulate`; `python -m simulation --help` lists the options."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path

from simulation.coverage import Coverage
from simulation.events import Event
from simulation.generate import history
from simulation.run import Result, run, run_seed, shorten

BATCH = 10
TRACE_LINES = 40


@dataclass(slots=True)
class Summary:
    """What the histories of some seeds have reached. `failures` are seeds with the first violation and its name."""

    coverage: Coverage = field(default_factory=Coverage)
    histories: int = 0
    failures: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, other: "Summary") -> None:
        """Add what others have reached."""
        self.coverage.add(other.coverage)
        self.histories += other.histories
        self.failures += other.failures


def run_batch(seeds: range) -> Summary:
    """Run the histories of some seeds."""
    summary = Summary()
    for seed in seeds:
        result = run_seed(seed)
        summary.coverage.add(result.coverage)
        summary.histories += 1
        if result.violations:
            summary.failures.append((seed, result.violations[0], result.violated))
    return summary


def run_seeds(first: int, histories: int, processes: int, seconds: float, *, keep_going: bool) -> Summary:
    """Run histories until all are done, the time is over, or one of them violates an invariant."""
    summary, started, end = Summary(), time.monotonic(), first + histories
    batches = [range(start, min(start + BATCH, end)) for start in range(first, end, BATCH)]
    with Pool(processes, logging.disable) as pool:
        for found in pool.imap_unordered(run_batch, batches):
            summary.add(found)
            for seed, message, name in found.failures:
                # An hour of histories need not be over before the first one is looked at.
                sys.stderr.write(f"SEED={seed} violates {name}: {message}\n")
            over = time.monotonic() - started > seconds
            if over or (summary.failures and not keep_going):
                break
        pool.terminate()
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the histories and print what they reached; return 1 if an invariant was violated."""
    options = _parser().parse_args(arguments)
    logging.disable()
    if options.replay is not None:
        return _replay([tuple(occurrence) for occurrence in json.loads(options.replay.read_text())])
    started = time.monotonic()
    summary = run_seeds(
        options.seed, options.histories, options.processes, options.seconds, keep_going=options.keep_going
    )
    seconds = time.monotonic() - started
    rate = f"{summary.histories / seconds:.1f} histories and {summary.coverage.reconciliations / seconds:.0f}"
    _print(f"{summary.histories} histories in {seconds:.0f} s: {rate} reconciliations per second")
    if not options.quick:
        _print("\n".join(summary.coverage.lines()))
    kinds: dict[str, list[tuple[int, str]]] = {}
    for seed, message, name in sorted(summary.failures):
        kinds.setdefault(name, []).append((seed, message))
    for name, found in kinds.items():
        seed, message = found[0]
        _print(f"VIOLATED {name} in {len(found)} histories, first by SEED={seed}: {message}")
        if not options.quick:
            _explain(seed, name)
    return 1 if summary.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation")
    parser.add_argument("--histories", type=int, default=2000, help="how many histories to run")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each history takes the next one")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many seconds")
    parser.add_argument("--processes", type=int, default=2, help="how many to run at the same time")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    parser.add_argument("--quick", action="store_true", help="do not shorten a history, and print no coverage")
    parser.add_argument("--replay", type=Path, help="run the history in this JSON file, and print its trace")
    return parser


def _explain(seed: int, name: str) -> None:
    events = history(seed)
    short = shorten(events, lambda candidate: run(candidate).violated == name)
    _print(f"the shortest history found has {len(short)} of {len(events)} events, for --replay:")
    _print("[" + ",\n ".join(json.dumps(occurrence) for occurrence in short) + "]")
    _print_trace(run(short), TRACE_LINES)


def _replay(events: Sequence[Event]) -> int:
    result = run(events)
    _print_trace(result, len(result.trace))
    return 1 if result.violations else 0


def _print_trace(result: Result, lines: int) -> None:
    _print("\n".join([*result.trace[-lines:], *result.violations, result.error]))


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 # a command


if __name__ == "__main__":
    sys.exit(main())
