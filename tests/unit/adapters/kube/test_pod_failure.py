from itertools import accumulate
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.pod_failure import crash_message, failure_message, short, told_on

LOG = (
    'time="2026-03-01T11:00:00.123Z" level=info msg=start\n'
    'time="2026-03-01T11:00:01Z" level=fatal msg="kernel too old"\n'
    'time="2026-03-01T11:00:02Z" level=info msg=bye'
)


def ended(message: str = "", code: int = 1, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"message": message, "exitCode": code, "reason": reason}}


def waiting(reason: str, message: str = "", last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, "lastState": last or {}}


RUNS_AGAIN = {"state": {"running": {}}, "lastState": ended("kernel too old")}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param({}, "", id="nothing is known"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, "", id="it runs"),
        pytest.param({"containerStatuses": [waiting("ContainerCreating")]}, "", id="it is being created"),
        pytest.param({"initContainerStatuses": [waiting("PodInitializing")]}, "", id="it initializes"),
        pytest.param(
            {"containerStatuses": [waiting("ImagePullBackOff", 'Back-off pulling image "x"')]},
            'ImagePullBackOff: Back-off pulling image "x"',
            id="its image is missing",
        ),
        pytest.param({"containerStatuses": [waiting("ErrImagePull")]}, "ErrImagePull", id="without a message"),
        pytest.param(
            {"containerStatuses": [waiting("ImagePullBackOff", "no such image", ended("kernel too old"))]},
            "ImagePullBackOff: no such image",
            id="its image is missing, and it crashed before",
        ),
        pytest.param(
            {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 5m0s restarting", ended("kernel too old"))]},
            "CrashLoopBackOff: kernel too old",
            id="its own last words go before the kubelet's",
        ),
        pytest.param(
            {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 5m0s restarting", ended(reason="OOMKilled"))]},
            "CrashLoopBackOff: OOMKilled, exit code 1",
            id="it ended without a word",
        ),
        pytest.param(
            {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 5m0s restarting", ended("bye", 0))]},
            "CrashLoopBackOff: back-off … restarting",
            id="it ended well, which it should not",
        ),
        pytest.param(
            {
                "initContainerStatuses": [waiting("CrashLoopBackOff", "", ended("first"))],
                "containerStatuses": [waiting("PodInitializing")],
            },
            "CrashLoopBackOff: first",
            id="an init container",
        ),
        pytest.param({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "Evicted: no disk", id="evicted"),
        pytest.param({"phase": "Failed"}, "Failed: the pod ended", id="it failed without a word"),
    ],
)
def test_why_a_container_waits(status: dict[str, Any], words: str) -> None:
    assert failure_message(status) == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param({}, "", id="nothing is known"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, "", id="it runs for the first time"),
        pytest.param({"containerStatuses": [RUNS_AGAIN]}, "CrashLoopBackOff: kernel too old", id="it runs again"),
        pytest.param({"containerStatuses": [RUNS_AGAIN | {"ready": True}]}, "", id="it is well again"),
        pytest.param({"containerStatuses": [{"state": ended("oh")}]}, "CrashLoopBackOff: oh", id="it just ended"),
        pytest.param({"initContainerStatuses": [{"state": ended("done", 0)}]}, "", id="an init container is through"),
        pytest.param(
            {"containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]},
            "CrashLoopBackOff: Error, exit code 2",
            id="nobody says why",
        ),
    ],
)
def test_why_a_container_ended(status: dict[str, Any], words: str) -> None:
    assert crash_message(status) == words


@pytest.mark.parametrize(
    ("unready_since", "words"),
    [
        pytest.param("2026-03-01T11:00:00Z", "CrashLoopBackOff: kernel too old", id="since the crash"),
        pytest.param("2026-03-01T11:00:10Z", "CrashLoopBackOff: kernel too old", id="since the very start of this run"),
        pytest.param("2026-03-01T12:00:00Z", "", id="since later, so that the crash is an old story"),
    ],
)
def test_a_crash_is_the_cause_only_while_the_pod_was_not_ready_since(unready_since: str, words: str) -> None:
    container = {"state": {"running": {"startedAt": "2026-03-01T11:00:10Z"}}, "lastState": ended("kernel too old")}
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": unready_since}

    assert crash_message({"conditions": [ready], "containerStatuses": [container]}) == words


def test_a_crash_is_told_in_the_same_words_before_while_and_after_the_container_waits() -> None:
    last = ended("kernel too old")
    phases = [{"state": last}, waiting("CrashLoopBackOff", "back-off 10s", last), {"state": {}, "lastState": last}]
    told = {
        failure_message({"containerStatuses": [phase]}) or crash_message({"containerStatuses": [phase]})
        for phase in phases
    }

    assert told == {"CrashLoopBackOff: kernel too old"}


def test_a_failed_pull_is_told_in_the_same_words_by_both_of_the_kubelets_reasons() -> None:
    said = 'failed to pull "x": not found'
    reasons = [
        waiting("ErrImagePull", said),
        waiting("ImagePullBackOff", f"Back-off pulling image: ErrImagePull: {said}"),
    ]

    assert {failure_message({"containerStatuses": [one]}) for one in reasons} == {f"ErrImagePull: {said}"}


@pytest.mark.parametrize("reason", ["RegistryUnavailable", "SignatureValidationFailed"])
def test_so_is_one_for_another_reason(reason: str) -> None:
    between = waiting("ImagePullBackOff", f'Back-off pulling image "x": {reason}: no answer')

    assert {failure_message({"containerStatuses": [one]}) for one in (waiting(reason, "no answer"), between)} == {
        f"{reason}: no answer"
    }


NO = "ErrImagePull: no such image"
LATE = "ErrImagePull: no answer"
CRASHES = "CrashLoopBackOff: x"
BACK_OFF = 'ImagePullBackOff: Back-off pulling image "x"'


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        pytest.param([NO, BACK_OFF] * 3, [NO] * 6, id="the error is kept"),
        pytest.param(["", BACK_OFF, NO, BACK_OFF], ["", BACK_OFF, NO, NO], id="it was not seen from its beginning"),
        pytest.param(["ErrImagePull", BACK_OFF] * 2, ["ErrImagePull"] + [BACK_OFF] * 3, id="no error is told, ever"),
        pytest.param([NO, BACK_OFF, LATE, BACK_OFF], [NO, NO, LATE, LATE], id="another error"),
        pytest.param([NO, ""], [NO, ""], id="it was pulled"),
        pytest.param([NO, "", BACK_OFF], [NO, "", BACK_OFF], id="an old story"),
        pytest.param([NO, CRASHES], [NO, CRASHES], id="it crashes now"),
        pytest.param([CRASHES, BACK_OFF], [CRASHES, BACK_OFF], id="it crashed before"),
    ],
)
def test_a_failed_pull_is_told_on_where_the_kubelet_does_not_repeat_it(seen: list[str], told: list[str]) -> None:
    assert [*accumulate(seen, told_on)] == told


@pytest.mark.parametrize(
    ("message", "words"),
    [
        pytest.param(LOG, 'level=fatal msg="kernel too old"', id="the fatal line"),
        pytest.param("one\ntwo\n\n", "two", id="else the last one"),
        pytest.param("panic: nil\ngoroutine 1", "panic: nil", id="a panic"),
    ],
)
def test_of_a_log_the_line_that_tells_why(message: str, words: str) -> None:
    assert crash_message({"containerStatuses": [{"state": ended(message)}]}) == f"CrashLoopBackOff: {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("back-off 10s restarting", "back-off … restarting", id="seconds"),
        pytest.param(
            "last seen active 3m5.12s ago; threshold is 3m0s", "last seen active … ago; threshold is …", id="PLEG"
        ),
        pytest.param("after 1h2m3s and 250ms", "after … and …", id="hours and less"),
        pytest.param("read 10.0.0.5:48263->10.0.0.2:53: timeout", "read 10.0.0.5:…->10.0.0.2:53: timeout", id="port"),
        pytest.param("at 2026-03-01T11:00:00.123+01:00 it ended", "at it ended", id="a moment"),
        pytest.param("cilium:v1.17.5-eksbuild.1 on mi-0s", "cilium:v1.17.5-eksbuild.1 on mi-…", id="versions stay"),
    ],
)
def test_what_only_tells_the_time_is_left_out(text: str, words: str) -> None:
    assert short(text) == words


def test_words_are_cut_and_stand_in_one_line() -> None:
    assert short("kubelet\n says  so") == "kubelet says so"
    assert short("x" * 1000) == "x" * 199 + "…"
