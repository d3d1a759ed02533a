from itertools import accumulate
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.pod_failure import (
    crash_message,
    failure_message,
    keep_pull_error,
    shorten,
)

LOG = (
    'time="2026-03-01T11:00:00.123Z" level=info msg=start\n'
    'time="2026-03-01T11:00:01Z" level=fatal msg="kernel too old"\n'
    'time="2026-03-01T11:00:02Z" level=info msg=bye'
)


def terminated(message: str = "", code: int = 1, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"message": message, "exitCode": code, "reason": reason}}


def waiting(reason: str, message: str = "", last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, "lastState": last or {}}


RESTARTED = {"state": {"running": {}}, "lastState": terminated("kernel too old")}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param({}, "", id="empty status"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, "", id="running"),
        pytest.param({"containerStatuses": [waiting("ContainerCreating")]}, "", id="creating container"),
        pytest.param({"initContainerStatuses": [waiting("PodInitializing")]}, "", id="initializing"),
        pytest.param(
            {"containerStatuses": [waiting("ImagePullBackOff", 'Back-off pulling image "x"')]},
            'ImagePullBackOff: Back-off pulling image "x"',
            id="image is missing",
        ),
        pytest.param({"containerStatuses": [waiting("ErrImagePull")]}, "ErrImagePull", id="no message"),
        pytest.param(
            {"containerStatuses": [waiting("ImagePullBackOff", "no such image", terminated("kernel too old"))]},
            "ImagePullBackOff: no such image",
            id="image is missing, and the container crashed before",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    waiting("CrashLoopBackOff", "back-off 5m0s restarting", terminated("kernel too old"))
                ]
            },
            "CrashLoopBackOff: kernel too old",
            id="termination message before the kubelet's message",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    waiting("CrashLoopBackOff", "back-off 5m0s restarting", terminated(reason="OOMKilled"))
                ]
            },
            "CrashLoopBackOff: OOMKilled, exit code 1",
            id="no termination message",
        ),
        pytest.param(
            {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 5m0s restarting", terminated("bye", 0))]},
            "CrashLoopBackOff: back-off … restarting",
            id="exit code 0",
        ),
        pytest.param(
            {
                "initContainerStatuses": [waiting("CrashLoopBackOff", "", terminated("first"))],
                "containerStatuses": [waiting("PodInitializing")],
            },
            "CrashLoopBackOff: first",
            id="init container",
        ),
        pytest.param({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "Evicted: no disk", id="evicted"),
        pytest.param({"phase": "Failed"}, "Failed: the pod failed", id="failed without a message"),
    ],
)
def test_failure_message_of_a_waiting_container(status: dict[str, Any], message: str) -> None:
    assert failure_message(status) == message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param({}, "", id="empty status"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, "", id="first start"),
        pytest.param({"containerStatuses": [RESTARTED]}, "CrashLoopBackOff: kernel too old", id="restarted"),
        pytest.param({"containerStatuses": [RESTARTED | {"ready": True}]}, "", id="ready again"),
        pytest.param(
            {"containerStatuses": [{"state": terminated("oh")}]}, "CrashLoopBackOff: oh", id="just terminated"
        ),
        pytest.param({"initContainerStatuses": [{"state": terminated("done", 0)}]}, "", id="completed init container"),
        pytest.param(
            {"containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]},
            "CrashLoopBackOff: Error, exit code 2",
            id="no reason and no message",
        ),
    ],
)
def test_crash_message_of_a_crashed_container(status: dict[str, Any], message: str) -> None:
    assert crash_message(status) == message


@pytest.mark.parametrize(
    ("unready_since", "message"),
    [
        pytest.param("2026-03-01T11:00:00Z", "CrashLoopBackOff: kernel too old", id="unready since the crash"),
        pytest.param("2026-03-01T11:00:10Z", "CrashLoopBackOff: kernel too old", id="unready since the restart"),
        pytest.param("2026-03-01T12:00:00Z", "", id="ready after the restart"),
    ],
)
def test_a_crash_is_reported_only_while_the_pod_has_not_been_ready_since(unready_since: str, message: str) -> None:
    container = {"state": {"running": {"startedAt": "2026-03-01T11:00:10Z"}}, "lastState": terminated("kernel too old")}
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": unready_since}

    assert crash_message({"conditions": [ready], "containerStatuses": [container]}) == message


def test_a_crash_has_the_same_message_before_during_and_after_the_back_off() -> None:
    last = terminated("kernel too old")
    phases = [{"state": last}, waiting("CrashLoopBackOff", "back-off 10s", last), {"state": {}, "lastState": last}]
    messages = {
        failure_message({"containerStatuses": [phase]}) or crash_message({"containerStatuses": [phase]})
        for phase in phases
    }

    assert messages == {"CrashLoopBackOff: kernel too old"}


def test_a_failed_pull_has_the_same_message_for_both_reasons_of_the_kubelet() -> None:
    error = 'failed to pull "x": not found'
    reasons = [
        waiting("ErrImagePull", error),
        waiting("ImagePullBackOff", f"Back-off pulling image: ErrImagePull: {error}"),
    ]

    assert {failure_message({"containerStatuses": [reason]}) for reason in reasons} == {f"ErrImagePull: {error}"}


@pytest.mark.parametrize("reason", ["RegistryUnavailable", "SignatureValidationFailed"])
def test_other_pull_errors_have_the_same_message_during_the_back_off(reason: str) -> None:
    between = waiting("ImagePullBackOff", f'Back-off pulling image "x": {reason}: no answer')

    containers = (waiting(reason, "no answer"), between)

    assert {failure_message({"containerStatuses": [container]}) for container in containers} == {f"{reason}: no answer"}


NOT_FOUND = "ErrImagePull: no such image"
NO_ANSWER = "ErrImagePull: no answer"
CRASH = "CrashLoopBackOff: x"
BACK_OFF = 'ImagePullBackOff: Back-off pulling image "x"'


@pytest.mark.parametrize(
    ("reported", "kept"),
    [
        pytest.param([NOT_FOUND, BACK_OFF] * 3, [NOT_FOUND] * 6, id="error is kept"),
        pytest.param(
            ["", BACK_OFF, NOT_FOUND, BACK_OFF], ["", BACK_OFF, NOT_FOUND, NOT_FOUND], id="first report is the back-off"
        ),
        pytest.param(
            ["ErrImagePull", BACK_OFF] * 2, ["ErrImagePull"] + [BACK_OFF] * 3, id="kubelet never reports an error"
        ),
        pytest.param(
            [NOT_FOUND, BACK_OFF, NO_ANSWER, BACK_OFF], [NOT_FOUND, NOT_FOUND, NO_ANSWER, NO_ANSWER], id="another error"
        ),
        pytest.param([NOT_FOUND, ""], [NOT_FOUND, ""], id="image was pulled"),
        pytest.param([NOT_FOUND, "", BACK_OFF], [NOT_FOUND, "", BACK_OFF], id="fails again after a success"),
        pytest.param([NOT_FOUND, CRASH], [NOT_FOUND, CRASH], id="now it crashes"),
        pytest.param([CRASH, BACK_OFF], [CRASH, BACK_OFF], id="it crashed before"),
    ],
)
def test_the_pull_error_is_kept_while_the_kubelet_reports_only_the_image(reported: list[str], kept: list[str]) -> None:
    assert [*accumulate(reported, keep_pull_error)] == kept


@pytest.mark.parametrize(
    ("log", "message"),
    [
        pytest.param(LOG, "kernel too old", id="fatal line"),
        pytest.param(
            'time=2026-03-01T11:00:01Z level=fatal msg="unable to run agent: failed to start: daemon creation failed: '
            "unable to initialize BPF masquerade support: BPF masquerade requires NodePort "
            '(--enable-node-port=\\"true\\")"'
            " subsys=daemon",
            'unable to initialize BPF masquerade support: BPF masquerade requires NodePort (--enable-node-port="true")',
            id="what every fatal line says",
        ),
        pytest.param(
            'level=fatal msg="Incorrect config-map flag value" error="option mtu: unable to cast \\"abc\\""',
            'Incorrect config-map flag value: option mtu: unable to cast "abc"',
            id="with an error",
        ),
        pytest.param("one\ntwo\n\n", "two", id="last line"),
        pytest.param("panic: nil\ngoroutine 1", "panic: nil", id="panic"),
    ],
)
def test_the_cause_is_picked_from_the_end_of_the_log(log: str, message: str) -> None:
    assert crash_message({"containerStatuses": [{"state": terminated(log)}]}) == f"CrashLoopBackOff: {message}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("back-off 10s restarting", "back-off … restarting", id="seconds"),
        pytest.param(
            "last seen active 3m5.12s ago; threshold is 3m0s", "last seen active … ago; threshold is …", id="PLEG"
        ),
        pytest.param("after 1h2m3s and 250ms", "after … and …", id="hours and less"),
        pytest.param("read 10.0.0.5:48263->10.0.0.2:53: timeout", "read 10.0.0.5:…->10.0.0.2:53: timeout", id="port"),
        pytest.param("at 2026-03-01T11:00:00.123+01:00 it ended", "at it ended", id="timestamp"),
        pytest.param("cilium:v1.17.5-eksbuild.1 on mi-0s", "cilium:v1.17.5-eksbuild.1 on mi-…", id="versions are kept"),
    ],
)
def test_timestamps_durations_and_ports_are_removed(text: str, expected: str) -> None:
    assert shorten(text) == expected


def test_text_is_shortened_to_one_line() -> None:
    assert shorten("kubelet\n says  so") == "kubelet says so"
    assert shorten("x" * 1000) == "x" * 199 + "…"
