"""Hostile specs: the operator refuses them with a message, keeps running, and accepts the next valid spec."""

import json

import pytest

from e2e.site import Site
from testbed.processes import wait_until

HEAD = '"apiVersion":"ciliumhybrid.io/v1alpha1","kind":"CiliumHybrid","metadata":{"name":"default"}'
MESSAGE = "jsonpath={.status.conditions[?(@.type=='Valid')].message}"


def _nested(depth: int) -> str:
    """Return JSON that is nested too deeply for Python's encoder."""
    return '{"x":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(_nested(50), ["spec.values: nested deeper than 32 levels"], id="deep"),
        pytest.param(_nested(5000), ["spec.values: nested deeper than 32 levels"], id="very deep"),
        pytest.param(
            json.dumps({"debug": "x" * 1_000_000}), ["spec.values: Too long: 1000013 bytes of JSON"], id="a long string"
        ),
        pytest.param(
            json.dumps({f"key-{n}": n for n in range(40_000)}),
            ["spec.values: Too long: ", "spec.values: 39980 more unknown keys in the Cilium 1.17 chart"],
            id="many keys",
        ),
        pytest.param(
            json.dumps({"extraConfig": {"ipam": 1, "x\n\x1b[2J": 1}, "ip\u202eam\n": {}}),
            ["spec.values.extraConfig.ipam", "spec.values.ip\\u202eam\\u000a: unknown key in the Cilium 1.17 chart"],
            id="control characters",
        ),
    ],
)
def test_a_hostile_spec_is_refused(site: Site, values: str, words: list[str]) -> None:
    spec = json.dumps(site.spec() | {"values": 0}).replace('"values": 0', f'"values": {values}')
    site.cluster.kubectl("create", "-f", "-", stdin=f'{{{HEAD},"spec":{spec}}}')
    message: str = wait_until(
        # kubectl parses deeper JSON than Python.
        lambda: site.cluster.kubectl("get", "ciliumhybrid", "default", "-o", MESSAGE),
        timeout=20,
        what="the status has the message",
        needs=[site.operator],
    )
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=30s")

    assert [text for text in words if text not in message] == []
    assert not [character for character in message if not character.isprintable()]
    assert not site.revisions()


def test_the_operator_accepts_a_valid_spec_afterwards(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    site.clean()

    assert "Traceback" not in site.operator.log.read_text()
