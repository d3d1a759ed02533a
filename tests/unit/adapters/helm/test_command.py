import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from cilium_hybrid.adapters.helm import command as module
from cilium_hybrid.adapters.helm import process
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError, HelmTimeoutError, deadline
from cilium_hybrid.adapters.helm.messages import MAX_LENGTH
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


def test_the_message_of_a_long_error_is_short_and_its_details_are_complete(helm: Helm) -> None:
    where = "error calling include: " * 100
    with pytest.raises(HelmError) as error:
        asyncio.run(helm(f"echo 'Error: begin {where}end' >&2; exit 1").run(["pull", "x"]))

    assert error.value.details == f"begin {where}end"
    assert len(str(error.value)) == MAX_LENGTH
    assert str(error.value).startswith("begin ")
    assert str(error.value).endswith(" end")


def test_an_error_without_a_message_has_the_exit_code(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"^helm pull failed with exit code 3$"):
        asyncio.run(helm("exit 3").run(["pull", "x"]))


def test_a_helm_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    command = HelmCommand(tmp_path / "helm", tmp_path, lambda *_: None)

    with pytest.raises(HelmError, match=rf"^cannot start {tmp_path}/helm: No such file or directory$"):
        asyncio.run(command.run(["list"]))
    with pytest.raises(HelmError, match=rf"^cannot run {tmp_path}/helm version: "):
        command.client_version()


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        pytest.param(["pull", "x"], module.READ_SECONDS, id="pull"),
        pytest.param(["show", "crds"], module.READ_SECONDS, id="show"),
        pytest.param(["template", "x"], module.READ_SECONDS, id="template"),
        pytest.param(["upgrade", "x"], module.WRITE_SECONDS, id="upgrade"),
        pytest.param(["uninstall", "x"], module.WRITE_SECONDS, id="uninstall"),
        pytest.param(["upgrade", "x", "--dry-run=server"], module.READ_SECONDS, id="dry run"),
    ],
)
def test_each_command_has_a_deadline(arguments: list[str], seconds: float) -> None:
    assert deadline(arguments) == seconds


def test_a_helm_without_an_end_is_stopped_at_its_deadline(
    helm: Helm, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 1.0)
    with pytest.raises(HelmTimeoutError, match=r"^helm pull did not end within 1 s and was stopped$"):
        asyncio.run(helm(f"echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done").run(["pull", "x"]))

    assert not runs(int((tmp_path / "pid").read_text()))
    assert calls == [("pull", False)]


def test_a_helm_that_prints_without_end_is_stopped(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"^helm show printed more than 16 MiB and was stopped$"):
        asyncio.run(helm("exec cat /dev/zero").run(["show"]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_helm_that_was_killed_is_interrupted_and_did_not_fail(
    helm: Helm, calls: Calls, number: signal.Signals
) -> None:
    with pytest.raises(HelmInterruptedError, match=rf"^Helm was killed by signal {number.value};"):
        asyncio.run(helm(f"kill -{number.value} $$").run(["upgrade"]))
    assert calls == [("upgrade", False)]


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        pytest.param(["list", "-A"], "list", id="list"),
        pytest.param(["upgrade", "x"], "upgrade", id="upgrade"),
        pytest.param(["upgrade", "x", "--dry-run=server"], "upgrade --dry-run", id="dry run"),
    ],
)
def test_each_run_is_reported(helm: Helm, calls: Calls, arguments: list[str], reported: str) -> None:
    asyncio.run(helm("exit 0").run(arguments))

    assert calls == [(reported, True)]


def test_options_are_passed_only_to_an_upgrade(helm: Helm) -> None:
    command = helm('echo "$@"')

    async def scenario() -> list[bytes]:
        with command.with_options("--labels", "a=1,b=2"):
            inside = [await command.run(["upgrade", "cilium"]), await command.run(["list"])]
        return [*inside, await command.run(["upgrade", "cilium"])]

    assert asyncio.run(scenario()) == [b"upgrade cilium --labels a=1,b=2\n", b"list\n", b"upgrade cilium\n"]


def test_values_beyond_the_basic_plane_are_not_passed_as_json(helm: Helm) -> None:
    values = {"banner": "\U0001f600 \x7f", "number": 1}
    output = asyncio.run(helm("cat").run(["upgrade"], json.dumps(values).encode()))

    assert b"\\ud83d" not in output.lower()
    assert yaml.safe_load(output) == values


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
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.05)
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
