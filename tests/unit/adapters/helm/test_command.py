import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cilium_hybrid.adapters.helm import command as module
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError, readable
from cilium_hybrid.ports import HelmEndedError

Calls = list[tuple[str, bool]]


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def helm(tmp_path: Path, calls: Calls) -> Callable[[str], HelmCommand]:
    """Make a Helm that is a shell script."""

    def make(script: str) -> HelmCommand:
        path = tmp_path / "helm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return HelmCommand(path, tmp_path / "home", lambda name, _, succeeded: calls.append((name, succeeded)))

    return make


Helm = Callable[[str], HelmCommand]


def test_arguments_reach_helm_as_they_are(helm: Helm) -> None:
    said = asyncio.run(helm('printf "%s|" "$@"').run(["get", "a b", "$(id)", "'; true", 3]))

    assert said == b"get|a b|$(id)|'; true|3|"


def test_both_streams_and_the_input(helm: Helm) -> None:
    said = asyncio.run(helm("cat; echo words >&2").say(["template"], b"values"))

    assert (said.out, said.err) == (b"values", b"words\n")


def test_helm_without_input_does_not_wait_for_one(helm: Helm) -> None:
    assert asyncio.run(helm("cat").run(["list"])) == b""


def test_an_error_is_in_helms_own_words(helm: Helm, calls: Calls) -> None:
    with pytest.raises(HelmError, match=r"^no such chart; look elsewhere$"):
        asyncio.run(helm("echo 'Error: no such chart' >&2; echo look elsewhere >&2; exit 1").run(["pull", "x"]))
    assert calls == [("pull", False)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_helm_that_somebody_killed_says_nothing_of_the_release(
    helm: Helm, calls: Calls, number: signal.Signals
) -> None:
    with pytest.raises(HelmEndedError, match=rf"^Helm was ended by signal {number.value}:"):
        asyncio.run(helm(f"kill -{number.value} $$").run(["upgrade"]))
    assert calls == [("upgrade", False)]


def test_each_call_is_counted(helm: Helm, calls: Calls) -> None:
    asyncio.run(helm("exit 0").run(["list", "-A"]))

    assert calls == [("list", True)]


def test_labels_are_given_to_an_upgrade_and_to_nothing_else(helm: Helm) -> None:
    command = helm('echo "$@"')

    async def scenario() -> list[bytes]:
        with command.labelled({"a": "1", "b": "2"}):
            inside = [await command.run(["upgrade", "cilium"]), await command.run(["list"])]
        return [*inside, await command.run(["upgrade", "cilium"])]

    assert asyncio.run(scenario()) == [b"upgrade cilium --labels a=1,b=2\n", b"list\n", b"upgrade cilium\n"]


def test_helm_keeps_its_files_in_the_cache(helm: Helm, tmp_path: Path) -> None:
    said = asyncio.run(helm('echo "$HELM_CACHE_HOME $HELM_CONFIG_HOME $HELM_DATA_HOME"').run(["env"]))

    assert {Path(place).parent for place in said.decode().split()} == {tmp_path / "home"}


def wait_for(sign: Path) -> None:
    while not sign.exists():
        time.sleep(0.01)


async def cancelled_once_it_runs(call: Awaitable[object], sign: Path) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.to_thread(wait_for, sign)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


async def cancelled_as_it_starts(call: Awaitable[object], sign: Path) -> None:
    task = asyncio.ensure_future(call)
    before = children()
    while children() == before:  # noqa: ASYNC110 # it is the loop's next step that counts
        await asyncio.sleep(0)
    # The process is there, and the loop has had no time to hear of it.
    wait_for(sign)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def process_of(sign: Path) -> int:
    return int(sign.read_text())


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("cancelled", [cancelled_once_it_runs, cancelled_as_it_starts])
def test_a_cancelled_helm_is_told_to_end_and_waited_for(
    helm: Helm, tmp_path: Path, cancelled: Callable[[Awaitable[object], Path], Coroutine[Any, Any, None]]
) -> None:
    sign, end = tmp_path / "sign", tmp_path / "end"
    script = f"trap 'echo marked failed > {end}; exit 1' TERM; echo $$ > {sign}.new; mv {sign}.new {sign}"
    script += "; while :; do sleep 0.01; done"
    asyncio.run(cancelled(helm(script).run(["upgrade"]), sign))

    assert end.read_text() == "marked failed\n"
    assert not runs(process_of(sign))


def test_a_helm_that_does_not_end_is_killed(helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    sign = tmp_path / "sign"
    script = f"trap '' TERM; echo $$ > {sign}.new; mv {sign}.new {sign}; while :; do sleep 0.01; done"
    asyncio.run(cancelled_once_it_runs(helm(script).run(["upgrade"]), sign))

    assert not runs(process_of(sign))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        pytest.param("v4.0.1", "4.0.1", id="in full"),
        pytest.param("v4.3", "4.3.0", id="as a plain build says it"),
        pytest.param("v4.1.2-rc.1+g123", "4.1.2", id="with a suffix"),
    ],
)
def test_helms_version(helm: Helm, said: str, version: str) -> None:
    assert str(helm(f"echo {said}").client_version()) == version


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        pytest.param("Error: it broke\n", "it broke", id="without the word Error"),
        pytest.param("Error: values: \n- a: is wrong\n- b: too\n", "values:; a: is wrong; b: too", id="in one line"),
        pytest.param("WARNING: old\nlevel=info x\nI0301 x\nUse --debug\nError: y", "y", id="without noise"),
        pytest.param(f"tls: {CERTIFICATE} is bad", "tls: <redacted> is bad", id="without certificates"),
        pytest.param("key -----BEGIN PRIVATE KEY-----\nMII", "key <redacted>", id="without keys that were cut off"),
        pytest.param(f"token {'a1' * 60} expired", "token <redacted> expired", id="without tokens"),
        pytest.param("x " * 1000, ("x " * 1000)[:599] + "…", id="short"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_helms_words_are_short_and_hold_no_secret(stderr: str, words: str) -> None:
    assert readable(stderr.encode()) == words


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert readable(b"bad \xff byte") == "bad � byte"
