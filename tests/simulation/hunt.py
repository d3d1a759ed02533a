"""Run histories until the time is over, and print each one that violates an invariant, as a line of JSON."""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import count

from simulation.focus import Focus, parse_focus
from simulation.run import run_seed


def violations(seed: int, focus: Focus, seconds: float) -> Iterator[tuple[int, str]]:
    """Yield seeds whose history violates an invariant, and its name; for so many seconds of processor time."""
    for number in count(seed):
        if time.process_time() > seconds:
            return
        result = run_seed(number, focus)
        if result.violated:
            yield number, result.violated


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the violations."""
    parser = argparse.ArgumentParser(prog="python -m simulation.hunt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--focus", type=parse_focus, default="")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args(arguments)
    logging.disable()
    for seed, violated in violations(options.seed, options.focus, options.seconds):
        print(json.dumps([seed, violated]), flush=True)  # noqa: T201 # a command


if __name__ == "__main__":
    main()
