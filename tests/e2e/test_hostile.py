"""Specs that nobody means well with: the operator refuses them in words, lives on, and takes the next good one."""

import json

import pytest

from e2e.site import Site
from testbed.processes import wait_until

HEAD = '"apiVersion":"ciliumhybrid.io/v1alpha1","kind":"CiliumHybrid","metadata":{"name":"default"}'
MESSAGE = "jsonpath={.status.conditions[?(@.type=='Valid')].message}"


def _nested(depth: int) -> str:
    """JSON that Python itself would not write."""
    return '{"x":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(_nested(50), ["spec.values: are nested deeper than 32 levels"], id="deep"),
        pytest.param(_nested(5000), ["spec.values: are nested deeper than 32 levels"], id="very deep"),
        pytest.param(json.dumps({"debug": "x" * 1_000_000}), ["spec.values: take 1000013 bytes"], id="a long text"),
        pytest.param(
            json.dumps({f"key-{n}": n for n in range(40_000)}),
            ["spec.values: take ", "spec.values: has 39980 more keys that the chart of Cilium 1.17 does not know"],
            id="many keys",
        ),
        pytest.param(
            json.dumps({"extraConfig": {"ipam": 1, "x\n\x1b[2J": 1}, "ip\u202eam\n": {}}),
            ["spec.values.extraConfig.ipam", "spec.values.ip\\u202eam\\u000a: is no key of the chart"],
            id="what a terminal would obey",
        ),
    ],
)
def test_it_is_refused(site: Site, values: str, words: list[str]) -> None:
    spec = json.dumps(site.spec() | {"values": 0}).replace('"values": 0', f'"values": {values}')
    site.cluster.kubectl("create", "-f", "-", stdin=f'{{{HEAD},"spec":{spec}}}')
    message: str = wait_until(
        # kubectl reads what Python does not.
        lambda: site.cluster.kubectl("get", "ciliumhybrid", "default", "-o", MESSAGE),
        timeout=20,
        what="the status says so",
        needs=[site.operator],
    )
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=30s")

    assert [one for one in words if one not in message] == []
    assert not [character for character in message if not character.isprintable()]
    assert not site.revisions()


def test_after_all_of_it_a_good_one_is_taken(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    site.clean()

    assert "Traceback" not in site.operator.log.read_text()
