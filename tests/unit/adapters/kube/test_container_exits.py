"""Exits of containers and failing images: what counts against a release."""

from typing import Any

import pytest

from cilium_hybrid.adapters.kube.pod_failure import crash_message, exits, image_failing


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


CRASH_LOOP = {"waiting": {"reason": "CrashLoopBackOff"}}
FAILED = {"terminated": {"exitCode": 1, "reason": "Error"}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
REBOOTED = {"terminated": {"exitCode": 255, "reason": "Unknown"}}
VANISHED = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
RUNNING: dict[str, Any] = {"running": {}}


def counted(count: int, state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"restartCount": count, "state": state, "lastState": last or {}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, 0, id="no containers yet"),
        pytest.param({"containerStatuses": [counted(0, RUNNING)]}, 0, id="runs"),
        pytest.param({"containerStatuses": [counted(0, FAILED)]}, 1, id="just exited"),
        pytest.param({"containerStatuses": [counted(0, CRASH_LOOP, FAILED)]}, 1, id="waits after its first exit"),
        pytest.param({"containerStatuses": [counted(1, RUNNING, FAILED)]}, 1, id="restarted"),
        pytest.param(
            {"containerStatuses": [counted(1, {"waiting": {"reason": "ContainerCreating"}}, FAILED)]},
            1,
            id="is being restarted",
        ),
        pytest.param({"containerStatuses": [counted(1, FAILED, FAILED)]}, 2, id="exited again"),
        pytest.param({"containerStatuses": [counted(1, CRASH_LOOP, FAILED)]}, 2, id="waits after its second exit"),
        pytest.param({"containerStatuses": [counted(0, DONE)]}, 1, id="a container that should not end"),
        pytest.param({"containerStatuses": [counted(1, RUNNING), counted(4, RUNNING)]}, 4, id="highest, not the sum"),
        pytest.param({"initContainerStatuses": [counted(0, DONE)]}, 0, id="init container succeeded"),
        pytest.param({"initContainerStatuses": [counted(1, CRASH_LOOP, FAILED)]}, 2, id="init container fails"),
        pytest.param({"initContainerStatuses": [counted(1, DONE, FAILED)]}, 1, id="init container failed once"),
        pytest.param({"initContainerStatuses": [counted(1, DONE, DONE)]}, 0, id="init container ran in a new sandbox"),
        pytest.param({"containerStatuses": [counted(0, REBOOTED)]}, 0, id="the node rebooted"),
        pytest.param({"containerStatuses": [counted(1, RUNNING, REBOOTED)]}, 0, id="restarted after a reboot"),
        pytest.param({"containerStatuses": [counted(0, CRASH_LOOP, REBOOTED)]}, 0, id="waits after a reboot"),
        pytest.param({"containerStatuses": [counted(1, RUNNING, VANISHED)]}, 0, id="the kubelet lost the container"),
        pytest.param(
            {"containerStatuses": [counted(0, {"terminated": {"exitCode": 255, "reason": "Error"}})]},
            1,
            id="exit code 255 of the agent itself",
        ),
    ],
)
def test_exits_are_counted_once_and_not_those_of_the_node(status: dict[str, Any], expected: int) -> None:
    assert exits(status) == expected


@pytest.mark.parametrize("last", [REBOOTED, VANISHED], ids=["rebooted", "lost"])
def test_a_reboot_of_the_node_is_not_a_crash(last: dict[str, Any]) -> None:
    assert crash_message({"containerStatuses": [counted(1, RUNNING, last)]}) == ""


NAME = '"quay.io/cilium/cilium:v1.18.6"'
RESOLVE = f"failed to pull and unpack image {NAME}: failed to resolve reference {NAME}"


@pytest.mark.parametrize(
    ("reason", "message", "failing"),
    [
        pytest.param("ErrImagePull", f"{RESOLVE}: quay.io/cilium/cilium:v1.18.6: not found", True, id="not found"),
        pytest.param(
            "ImagePullBackOff",
            f"Back-off pulling image {NAME}: ErrImagePull: {RESOLVE}: x: not found",
            True,
            id="repeated",
        ),
        pytest.param(
            "ErrImagePull",
            f"{RESOLVE}: pull access denied, repository does not exist or may require authorization",
            True,
            id="denied",
        ),
        pytest.param(
            "ErrImagePull",
            f'{RESOLVE}: unexpected status from HEAD request to "https://x": 403 Forbidden',
            True,
            id="403",
        ),
        pytest.param("ErrImagePull", "unauthorized: authentication required", True, id="unauthorized"),
        pytest.param("ErrImagePull", "manifest unknown: manifest unknown", True, id="manifest unknown"),
        pytest.param("ErrImagePull", 'failed to parse "x": invalid reference format', True, id="invalid reference"),
        pytest.param("InvalidImageName", "couldn't parse image name", True, id="invalid name"),
        pytest.param("ImagePullBackOff", f"Back-off pulling image {NAME}", False, id="cause unknown"),
        pytest.param("ErrImagePull", f"{RESOLVE}: dial tcp 10.0.0.1:443: i/o timeout", False, id="timeout"),
        pytest.param("ErrImagePull", f"{RESOLVE}: context deadline exceeded", False, id="deadline"),
        pytest.param(
            "ErrImagePull", f"{RESOLVE}: failed to authorize: 429 Too Many Requests - denied: too many", False, id="429"
        ),
        pytest.param("ErrImagePull", "toomanyrequests: You have reached your pull rate limit", False, id="rate limit"),
        pytest.param("ErrImagePull", f"{RESOLVE}: unexpected status code 503 Service Unavailable", False, id="503"),
        pytest.param("ErrImagePull", f"{RESOLVE}: dial tcp: lookup quay.io: no such host", False, id="DNS"),
        pytest.param("ErrImagePull", "write /var/lib/x: no space left on device", False, id="disk"),
        pytest.param("ErrImagePull", 'pulling "registry/not found/denied": EOF', False, id="words in the name"),
        pytest.param("CrashLoopBackOff", "not found", False, id="another failure"),
        pytest.param("CreateContainerConfigError", 'configmap "cilium-config" not found', False, id="no ConfigMap"),
    ],
)
def test_only_a_final_answer_of_the_registry_is_a_failing_image(reason: str, message: str, failing: bool) -> None:
    status = {"containerStatuses": [{"state": {"running": {}}}, waiting(reason, message)]}

    assert image_failing(status) is failing
    assert image_failing({"initContainerStatuses": status["containerStatuses"]}) is failing
