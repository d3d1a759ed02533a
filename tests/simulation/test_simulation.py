"""A fixed part of the simulation; `make simulate` runs as much of it as wanted."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builders import a_raw_spec
from cilium_hybrid.api.conditions import Reason
from simulation.__main__ import run_batch
from simulation.events import EVENTS, Event, happen
from simulation.focus import EVERYTHING, parse_focus
from simulation.generate import history
from simulation.invariants import ON_WRITE, judge
from simulation.liveness import settle
from simulation.mutate import FAULTS, MUTANTS, ROOT, Mutant
from simulation.run import run, run_seed, shorten
from simulation.world import World

SEEDS = 50
"""They take about a minute."""
PART = 25
NODES: tuple[Event, ...] = tuple(("join", number, "a", "6.8.0-51-generic") for number in (1, 2, 3))


def _spec(memory: str = "512Mi", **more: Any) -> dict[str, Any]:
    upgrade = {"rollout": {"soak": "10s", "progressDeadline": "1m"}}
    return a_raw_spec(resources={"agent": {"limits": {"memory": memory}}}, upgrade=upgrade, **more)


INSTALLED: tuple[Event, ...] = (*NODES, ("apply_spec", _spec()), ("advance", 90))


@pytest.mark.parametrize("first", range(1, SEEDS + 1, PART))
def test_no_history_violates_an_invariant(first: int) -> None:
    assert run_batch(range(first, first + PART)).failures == []


def test_the_same_seed_has_the_same_trace() -> None:
    for seed in range(1, 11):
        assert run_seed(seed).digest == run_seed(seed).digest


def test_a_history_can_be_replayed_from_json() -> None:
    events = history(7)
    replayed = [tuple(occurrence) for occurrence in json.loads(json.dumps(events))]

    assert run(replayed).digest == run(events).digest


def _end(events: Sequence[Event]) -> tuple[World, str]:
    world = World(judge)
    for occurrence in events:
        happen(world, occurrence)
    settle(world)
    assert world.violations == []
    assert world.users.resource is not None
    ready = next(c for c in world.users.resource.status["conditions"] if c["type"] == "Ready")
    return world, ready["reason"]


def test_an_install_ends_in_sync() -> None:
    world, reason = _end(INSTALLED)

    assert reason == Reason.IN_SYNC
    assert [revision.status for revision in world.helm.revisions] == ["deployed"]


def test_a_crashing_release_is_rolled_back_after_one_canary() -> None:
    world, reason = _end([*INSTALLED, ("apply_spec", _spec("1Mi"))])

    assert reason == Reason.ROLLED_BACK
    assert [revision.number for revision in world.helm.facts() if revision.rejected] == [2]


def test_two_minors_are_entered_one_after_the_other() -> None:
    world, reason = _end([*INSTALLED, ("apply_spec", _spec(version="1.19.4-1"))])

    assert reason == Reason.IN_SYNC
    assert [revision.minor for revision in world.helm.revisions] == [17, 17, 18, 19]


def test_a_history_is_shortened_to_what_matters() -> None:
    events: list[Event] = [("advance", number) for number in range(20)]

    assert shorten(events, lambda kept: ("advance", 7) in kept and ("advance", 13) in kept) == [
        ("advance", 7),
        ("advance", 13),
    ]


def test_every_event_is_drawn() -> None:
    drawn = {occurrence[0] for seed in range(3000) for occurrence in history(seed)}

    assert drawn == set(EVENTS)


def test_every_invariant_says_what_holds() -> None:
    assert all(rule.__doc__ for rule in ON_WRITE)


@pytest.mark.parametrize("path", sorted(MUTANTS.glob("*.patch")), ids=lambda path: path.stem)
def test_a_mutant_applies_and_has_a_focus_or_a_test(path: Path) -> None:
    mutant = Mutant.read(path)
    focus = parse_focus(mutant.focus)

    assert mutant.test or focus != EVERYTHING
    subprocess.run(["git", "apply", "--check", str(path)], cwd=ROOT, check=True)


def test_every_fault_has_a_mutant() -> None:
    assert set(FAULTS) <= {Mutant.read(path).number for path in MUTANTS.glob("*.patch")}
