import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cilium_hybrid.adapters.helm import command as module
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError, summarize_stderr
from cilium_hybrid.ports import HelmInterruptedError

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


def test_arguments_are_passed_without_a_shell(helm: Helm) -> None:
    output = asyncio.run(helm('printf "%s|" "$@"').run(["get", "a b", "$(id)", "'; true", 3]))

    assert output == b"get|a b|$(id)|'; true|3|"


def test_standard_input_output_and_error(helm: Helm) -> None:
    output = asyncio.run(helm("cat; echo words >&2").execute(["template"], b"values"))

    assert (output.stdout, output.stderr) == (b"values", b"words\n")


def test_helm_does_not_wait_for_input(helm: Helm) -> None:
    assert asyncio.run(helm("cat").run(["list"])) == b""


def test_an_error_is_the_message_of_helm(helm: Helm, calls: Calls) -> None:
    with pytest.raises(HelmError, match=r"^no such chart; look elsewhere$"):
        asyncio.run(helm("echo 'Error: no such chart' >&2; echo look elsewhere >&2; exit 1").run(["pull", "x"]))
    assert calls == [("pull", False)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_helm_that_was_killed_is_interrupted_and_did_not_fail(
    helm: Helm, calls: Calls, number: signal.Signals
) -> None:
    with pytest.raises(HelmInterruptedError, match=rf"^Helm was killed by signal {number.value};"):
        asyncio.run(helm(f"kill -{number.value} $$").run(["upgrade"]))
    assert calls == [("upgrade", False)]


def test_each_run_is_reported(helm: Helm, calls: Calls) -> None:
    asyncio.run(helm("exit 0").run(["list", "-A"]))

    assert calls == [("list", True)]


def test_labels_are_passed_only_to_an_upgrade(helm: Helm) -> None:
    command = helm('echo "$@"')

    async def scenario() -> list[bytes]:
        with command.with_labels({"a": "1", "b": "2"}):
            inside = [await command.run(["upgrade", "cilium"]), await command.run(["list"])]
        return [*inside, await command.run(["upgrade", "cilium"])]

    assert asyncio.run(scenario()) == [b"upgrade cilium --labels a=1,b=2\n", b"list\n", b"upgrade cilium\n"]


def test_helm_stores_its_files_below_its_home(helm: Helm, tmp_path: Path) -> None:
    output = asyncio.run(helm('echo "$HELM_CACHE_HOME $HELM_CONFIG_HOME $HELM_DATA_HOME"').run(["env"]))

    assert {Path(place).parent for place in output.decode().split()} == {tmp_path / "home"}


def wait_for(started: Path) -> None:
    while not started.exists():
        time.sleep(0.01)


async def cancel_while_running(call: Awaitable[object], started: Path) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.to_thread(wait_for, started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


async def cancel_while_starting(call: Awaitable[object], started: Path) -> None:
    task = asyncio.ensure_future(call)
    before = children()
    while children() == before:  # noqa: ASYNC110 # the very next iteration of the loop counts
        await asyncio.sleep(0)
    # The process exists, but the event loop has not noticed yet.
    wait_for(started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def process_of(started: Path) -> int:
    return int(started.read_text())


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("cancel", [cancel_while_running, cancel_while_starting])
def test_a_cancelled_helm_is_terminated_and_awaited(
    helm: Helm, tmp_path: Path, cancel: Callable[[Awaitable[object], Path], Coroutine[Any, Any, None]]
) -> None:
    started, end = tmp_path / "started", tmp_path / "end"
    script = f"trap 'echo marked failed > {end}; exit 1' TERM; echo $$ > {started}.new; mv {started}.new {started}"
    script += "; while :; do sleep 0.01; done"
    asyncio.run(cancel(helm(script).run(["upgrade"]), started))

    assert end.read_text() == "marked failed\n"
    assert not runs(process_of(started))


def test_a_helm_that_ignores_sigterm_is_killed(helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    started = tmp_path / "started"
    script = f"trap '' TERM; echo $$ > {started}.new; mv {started}.new {started}; while :; do sleep 0.01; done"
    asyncio.run(cancel_while_running(helm(script).run(["upgrade"]), started))

    assert not runs(process_of(started))


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        pytest.param("v4.0.1", "4.0.1", id="three numbers"),
        pytest.param("v4.3", "4.3.0", id="built from source"),
        pytest.param("v4.1.2-rc.1+g123", "4.1.2", id="prerelease and build"),
    ],
)
def test_version_of_helm(helm: Helm, printed: str, version: str) -> None:
    assert str(helm(f"echo {printed}").client_version()) == version


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        pytest.param("Error: it broke\n", "it broke", id="prefix Error"),
        pytest.param("Error: values: \n- a: is wrong\n- b: too\n", "values:; a: is wrong; b: too", id="several lines"),
        pytest.param("WARNING: old\nlevel=info x\nI0301 x\nUse --debug\nError: y", "y", id="warnings and log lines"),
        pytest.param(f"tls: {CERTIFICATE} is bad", "tls: <redacted> is bad", id="certificate"),
        pytest.param("key -----BEGIN PRIVATE KEY-----\nMII", "key <redacted>", id="truncated key"),
        pytest.param(f"token {'a1' * 60} expired", "token <redacted> expired", id="token"),
        pytest.param("x " * 1000, ("x " * 1000)[:599] + "…", id="long message"),
        pytest.param("", "", id="empty"),
    ],
)
def test_error_messages_are_short_and_contain_no_secret(stderr: str, message: str) -> None:
    assert summarize_stderr(stderr.encode()) == message


def test_invalid_utf8_is_replaced() -> None:
    assert summarize_stderr(b"bad \xff byte") == "bad � byte"
