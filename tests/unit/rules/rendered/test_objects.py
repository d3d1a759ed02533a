from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import (
    CILIUM_OBJECTS,
    CLUSTER_SCOPED,
    ENABLED_BY,
    KUBE_SYSTEM,
    PREFLIGHT_OBJECTS,
    SECRETS,
)
from cilium_hybrid.rules.rendered.objects import objects_are_allowed, pods_have_no_extra_node_access
from cilium_hybrid.rules.rule import all_violations
from testbed.operator import ROOT

RULES = (objects_are_allowed, pods_have_no_extra_node_access)
UNKNOWN = "is not an object that the operator may create; remove the value that adds it"
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
    """Return the objects that RBAC lets the operator use a verb on: group, resource, namespace, name."""
    found = set()
    for document in yaml.safe_load_all((ROOT / "deploy" / "operator" / "rbac-cilium.yaml").read_text()):
        for rule in document.get("rules", []):
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    # A ClusterRole for a namespaced resource is for the namespace that the chart creates.
                    everywhere = SECRETS if resource in {"roles", "rolebindings"} else CLUSTER_SCOPED
                    namespace = document["metadata"].get("namespace", everywhere)
                    if verb in rule["verbs"]:
                        found |= {(group, resource, namespace, name) for name in rule["resourceNames"]}
    return found


def as_granted(api: str, kind: str, namespace: str, name: str) -> tuple[str, str, str, str]:
    return api.rpartition("/")[0], f"{kind.lower()}s", namespace, name


def test_the_operator_has_permissions_for_exactly_the_allowed_objects() -> None:
    known = {as_granted(*one) for one in (*KNOWN, *OF_THE_PREFLIGHT)}
    # Helm's release Secrets, whose names vary, need the other permissions on Secrets.
    no_secrets = {one for one in known if one[1] != "secrets"}
    roles = {one for one in known if one[1] in {"roles", "clusterroles"}}

    assert granted("patch") == known
    assert granted("get") == granted("create") == granted("delete") == no_secrets
    assert granted("escalate") == granted("bind") == roles


@pytest.mark.parametrize("known", KNOWN, ids=" ".join)
def test_allowed_objects_are_accepted(known: tuple[str, str, str, str]) -> None:
    assert refused(an_object(*known)) == []


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(an_object("v1", "Pod", KUBE_SYSTEM, "cilium"), id="a kind that Cilium does not have"),
        pytest.param(an_object("v1", "Service", KUBE_SYSTEM, "another"), id="an unknown name"),
        pytest.param(an_object("v1", "Service", "default", "hubble-peer"), id="another namespace"),
        pytest.param(
            an_object(RBAC, "ClusterRole", KUBE_SYSTEM, "cilium"), id="a cluster-scoped object with a namespace"
        ),
        pytest.param(an_object(RBAC, "ClusterRole", None, "cluster-admin"), id="a role of another component"),
        pytest.param(an_object("v1", "Role", KUBE_SYSTEM, "cilium-config-agent"), id="another group"),
        pytest.param(an_object("apps/v2", "DaemonSet", KUBE_SYSTEM, "cilium"), id="another version"),
        pytest.param(an_object("example.com/v1", "Secret", KUBE_SYSTEM, "cilium-ca"), id="a kind of another group"),
        pytest.param({"kind": "Secret", "metadata": {"name": "cilium-ca"}}, id="no API version"),
        pytest.param({"apiVersion": "v1", "kind": "Secret"}, id="no name"),
        pytest.param({"apiVersion": "v1", "kind": "List"}, id="an empty list"),
        pytest.param({}, id="nothing"),
    ],
)
def test_other_objects_are_refused(manifest: dict[str, Any]) -> None:
    (message,) = refused(manifest)

    assert message.endswith(f": {UNKNOWN} from spec.values")


def test_an_object_without_a_namespace_is_in_the_namespace_of_the_release() -> None:
    assert refused(an_object("v1", "ConfigMap", None, "cilium-config")) == []


def test_items_of_a_list_are_validated_separately() -> None:
    inside = [{"metadata": {"name": "cilium-ca"}}, {"metadata": {"name": "another"}}]

    assert refused({"apiVersion": "v1", "kind": "SecretList", "items": inside}) == [
        f"Secret another: {UNKNOWN} from spec.values"
    ]


@pytest.mark.parametrize("added", ENABLED_BY)
def test_the_message_names_the_value_that_adds_the_object(added: str) -> None:
    kind, _, name = added.partition(" ")
    hook = {
        "metadata": {"name": name or "x", "namespace": KUBE_SYSTEM, "annotations": {"helm.sh/hook": "post-install"}}
    }

    (message,) = refused({"apiVersion": "x/v1", "kind": kind} | hook)

    assert message == f"{kind} kube-system/{name or 'x'}: {UNKNOWN}, such as {ENABLED_BY[added]}, from spec.values"


PARTS = [st.sampled_from(sorted({known[part] for known in KNOWN})) | st.text(max_size=3) for part in range(4)]


@given(st.tuples(*PARTS))
def test_only_allowed_objects_are_accepted(identity: tuple[str, str, str, str]) -> None:
    api, kind, namespace, name = identity
    known = identity in KNOWN or (not namespace and (api, kind, KUBE_SYSTEM, name) in KNOWN)

    assert (refused(an_object(*identity)) == []) == known
