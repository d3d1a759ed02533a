from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import (
    ADDED_BY,
    CILIUM_OBJECTS,
    CLUSTER,
    KUBE_SYSTEM,
    PREFLIGHT_OBJECTS,
    SECRETS,
)
from cilium_hybrid.rules.rendered.objects import only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do
from cilium_hybrid.rules.rule import all_violations
from testbed.operator import ROOT

RULES = (only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do)
UNKNOWN = "is none of the objects that the operator knows and may make: take out what adds it"
RBAC = "rbac.authorization.k8s.io/v1"
KNOWN = [(*place, name) for place, names in CILIUM_OBJECTS.items() for name in sorted(names)]
OF_THE_PREFLIGHT = [(*place, name) for place, names in PREFLIGHT_OBJECTS.items() for name in sorted(names)]


def an_object(api: str, kind: str, namespace: str | None, name: str) -> dict[str, Any]:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
    }


def refused(*manifests: Mapping[str, Any]) -> list[str]:
    violations = all_violations(RULES, manifests)
    assert {broken.reason for broken in violations} <= {Reason.RENDER_REFUSED}
    return [str(broken) for broken in violations]


def granted(verb: str) -> set[tuple[str, str, str, str]]:
    """The objects that the operator's own rights name for a verb: group, resource, namespace, name."""
    found = set()
    for document in yaml.safe_load_all((ROOT / "deploy" / "operator" / "rbac-cilium.yaml").read_text()):
        for rule in document.get("rules", []):
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    # A ClusterRole over a resource that lives in namespaces is there for the one that the chart makes.
                    everywhere = SECRETS if resource in {"roles", "rolebindings"} else CLUSTER
                    namespace = document["metadata"].get("namespace", everywhere)
                    if verb in rule["verbs"]:
                        found |= {(group, resource, namespace, name) for name in rule["resourceNames"]}
    return found


def as_granted(api: str, kind: str, namespace: str, name: str) -> tuple[str, str, str, str]:
    return api.rpartition("/")[0], f"{kind.lower()}s", namespace, name


def test_exactly_what_is_known_may_be_made() -> None:
    known = {as_granted(*one) for one in (*KNOWN, *OF_THE_PREFLIGHT)}
    # Helm's own records need the rest of the rights on Secrets, and their names cannot be told.
    no_secrets = {one for one in known if one[1] != "secrets"}
    roles = {one for one in known if one[1] in {"roles", "clusterroles"}}

    assert granted("patch") == known
    assert granted("get") == granted("create") == granted("delete") == no_secrets
    assert granted("escalate") == granted("bind") == roles


@pytest.mark.parametrize("known", KNOWN, ids=" ".join)
def test_what_is_known_is_accepted(known: tuple[str, str, str, str]) -> None:
    assert refused(an_object(*known)) == []


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(an_object("v1", "Pod", KUBE_SYSTEM, "cilium"), id="a kind that Cilium has none of"),
        pytest.param(an_object("v1", "Service", KUBE_SYSTEM, "another"), id="an unknown name"),
        pytest.param(an_object("v1", "Service", "default", "hubble-peer"), id="another namespace"),
        pytest.param(an_object(RBAC, "ClusterRole", KUBE_SYSTEM, "cilium"), id="a namespace where there is none"),
        pytest.param(an_object(RBAC, "ClusterRole", None, "cluster-admin"), id="somebody else's role"),
        pytest.param(an_object("v1", "Role", KUBE_SYSTEM, "cilium-config-agent"), id="another group"),
        pytest.param(an_object("apps/v2", "DaemonSet", KUBE_SYSTEM, "cilium"), id="another version"),
        pytest.param(an_object("example.com/v1", "Secret", KUBE_SYSTEM, "cilium-ca"), id="the kind of somebody else"),
        pytest.param({"kind": "Secret", "metadata": {"name": "cilium-ca"}}, id="no version"),
        pytest.param({"apiVersion": "v1", "kind": "Secret"}, id="no name"),
        pytest.param({"apiVersion": "v1", "kind": "List"}, id="a list of nothing"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_is_not_known_is_refused(manifest: dict[str, Any]) -> None:
    (said,) = refused(manifest)

    assert said.endswith(f": {UNKNOWN} from spec.values")


def test_an_object_without_a_namespace_is_in_that_of_the_release() -> None:
    assert refused(an_object("v1", "ConfigMap", None, "cilium-config")) == []


def test_what_is_in_a_list_is_known_by_itself() -> None:
    inside = [{"metadata": {"name": "cilium-ca"}}, {"metadata": {"name": "another"}}]

    assert refused({"apiVersion": "v1", "kind": "SecretList", "items": inside}) == [
        f"Secret another: {UNKNOWN} from spec.values"
    ]


@pytest.mark.parametrize("added", ADDED_BY)
def test_the_value_that_adds_it_is_named_where_it_can_be_told(added: str) -> None:
    kind, _, name = added.partition(" ")
    hook = {
        "metadata": {"name": name or "x", "namespace": KUBE_SYSTEM, "annotations": {"helm.sh/hook": "post-install"}}
    }

    (said,) = refused({"apiVersion": "x/v1", "kind": kind} | hook)

    assert said == f"{kind} kube-system/{name or 'x'}: {UNKNOWN}, such as {ADDED_BY[added]}, from spec.values"


PARTS = [st.sampled_from(sorted({known[part] for known in KNOWN})) | st.text(max_size=3) for part in range(4)]


@given(st.tuples(*PARTS))
def test_whatever_is_rendered_only_known_objects_pass(identity: tuple[str, str, str, str]) -> None:
    api, kind, namespace, name = identity
    known = identity in KNOWN or (not namespace and (api, kind, KUBE_SYSTEM, name) in KNOWN)

    assert (refused(an_object(*identity)) == []) == known
