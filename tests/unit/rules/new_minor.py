"""Print what the operator says about an upgrade to a new minor, for test_new_minor.py.

The arguments are the version that runs, a later patch of it, a version of the new minor, and one of the minor after it.
"""

import json
import re
import sys
from dataclasses import replace

import cilium_hybrid
from builders import NOW, a_raw_spec, a_spec, an_observation
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import desired_release
from cilium_hybrid.plan.simulate import simulate
from cilium_hybrid.plan.validate import validate
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from cilium_hybrid.rules.supported_minors import minor_of
from unit.upgrading import cluster

VALUES = {"brandNew": {"enabled": True}, "debgu": True, "sctp": {"enabled": True}}


def main(running: str, patch: str, target: str, later: str) -> None:
    """Print one JSON object."""
    spec, present = a_spec(version=target), a_spec(version=running)
    observation = cluster(running, spec=present)
    old_nodes = {name: replace(node, kernel="5.15.0-100-generic") for name, node in observation.nodes.items()}
    on_old_nodes = replace(observation, nodes=old_nodes)
    simulation = simulate(
        spec,
        observation,
        dict(desired_release(present, an_observation()).values),
        NOW,
        has_finalizer=False,
        available=[CiliumVersion.parse(version) for version in (running, patch, target)],
    )
    sys.stdout.write(
        json.dumps(
            {
                "package": cilium_hybrid.__file__,
                "steps": [[step.kind, version_in(step.message), step.notes] for step in simulation.steps],
                "end": simulation.end.reason,
                "refusals": said(a_raw_spec(version="1.16.19-0")),
                "warnings": [said(a_raw_spec(version=version, values=VALUES)) for version in (target, later)],
                "kernel": said(a_raw_spec(version=target), on_old_nodes),
                "later": minor_of(CiliumVersion.parse(later)).kernel,
            }
        )
    )


def version_in(message: str) -> str:
    """Return the version that a message names first."""
    (version, *_) = re.findall(r"\d+\.\d+\.\d+-\d+", message)
    return str(version)


def said(raw: object, observation: Observation | None = None) -> list[str]:
    """Return the refusals and warnings on a spec, where nothing runs unless it is said."""
    result = validate(raw, read_lenient_spec(raw), observation or an_observation(), None, ())
    return [str(violation) for violation in (*result.refusals, *result.warnings)]


if __name__ == "__main__":
    main(*sys.argv[1:])
