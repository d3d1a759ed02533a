"""Processes that end with their parent or are ended by process ID, and waiting."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.processes import (
    CommandError,
    Identity,
    Process,
    WaitError,
    end_recorded,
    record,
    recorded,
    run,
    start_on_free_port,
    wait_until,
)

SLEEP = ("sleep", "300")
IGNORES_SIGTERM = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process("sleep", SLEEP, tmp_path).start()
    yield process
    process.kill()


def state(process: Process) -> str:
    assert process.identity is not None
    return Path(f"/proc/{process.identity.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_stop_ends_a_process(process: Process) -> None:
    process.stop()
    assert not process.alive


def test_stop_kills_after_the_limit(tmp_path: Path) -> None:
    process = Process("stubborn", IGNORES_SIGTERM, tmp_path).start()
    wait_until(lambda: "ready" in process.tail(), timeout=5, what="the process ignores SIGTERM", needs=[process])
    process.stop(limit=0.2)
    assert not process.alive


def test_a_paused_process_can_be_resumed_and_ended(process: Process) -> None:
    process.pause()
    wait_until(lambda: state(process) == "T", timeout=5, what="the process is stopped")
    process.resume()
    wait_until(lambda: state(process) == "S", timeout=5, what="the process continues")
    process.pause()
    process.stop(limit=5)
    assert not process.alive


def test_a_process_can_be_restarted(process: Process) -> None:
    process.kill()
    assert process.start().alive


def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from testbed.processes import Process\n"
        "child = Process('child', ['sleep', '300'], Path(sys.argv[1])).start()\n"
        "print(child.identity.pid, child.identity.started, flush=True); time.sleep(300)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = Identity(*map(int, parent.stdout.readline().split()))
        assert child.alive
        parent.kill()
    wait_until(lambda: not child.alive, timeout=5, what="the child has ended")


def test_recorded_processes_are_ended_by_another_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from testbed.processes import Process, record\n"
        "folder = Path(sys.argv[1])\n"
        "record(folder, [Process(n, ['sleep', '300'], folder, detached=True).start() for n in ('a', 'b')])"
    )
    run([sys.executable, "-c", script, tmp_path], env={})
    processes = recorded(tmp_path)
    assert {name: process.alive for name, process in processes.items()} == {"a": True, "b": True}
    assert sorted(end_recorded(tmp_path)) == ["a", "b"]
    assert not any(process.alive for process in processes.values())
    assert end_recorded(tmp_path) == []


def test_another_process_with_a_recorded_id_is_not_ended(process: Process, tmp_path: Path) -> None:
    assert process.identity is not None
    earlier = replace(process.identity, started=process.identity.started - 1)
    record(tmp_path, [Process("earlier", SLEEP, tmp_path, identity=earlier)])
    assert end_recorded(tmp_path) == []
    earlier.send(signal.SIGKILL)
    assert process.alive


def test_waiting_returns_the_first_true_value() -> None:
    values = iter([0, 0, 7])
    assert wait_until(lambda: next(values), timeout=5, what="a number") == 7


def test_waiting_reports_the_last_value(process: Process) -> None:
    process.log.write_text("the end of the log")
    with pytest.raises(
        WaitError, match=r"three nodes: timed out after 0\.1 s; last value: \[\]\n.*\nthe end of the log"
    ):
        wait_until(list, timeout=0.1, what="three nodes", needs=[process])


def test_waiting_fails_when_a_needed_process_exits(process: Process) -> None:
    process.kill()
    with pytest.raises(WaitError, match="an answer: sleep exited"):
        wait_until(lambda: False, timeout=60, what="an answer", needs=[process])


def test_waiting_retries_a_failing_command() -> None:
    def condition() -> bool:
        run(["sh", "-c", "echo not yet >&2; exit 1"], env={})
        return True

    with pytest.raises(WaitError, match="not yet"):
        wait_until(condition, timeout=0.1, what="a command")


def test_the_error_of_a_command_contains_its_stderr() -> None:
    with pytest.raises(CommandError, match=r"sh -c .*: what is wrong$"):
        run(["sh", "-c", "echo what is wrong >&2; exit 3"], env={})


def test_another_port_is_tried_if_the_first_was_taken(tmp_path: Path) -> None:
    ports = []

    def build(port: int) -> Process:
        ports.append(port)
        taken = len(ports) == 1
        script = "echo 'bind: address already in use'; exit 1" if taken else "exec sleep 300"
        return Process("server", ["sh", "-c", script], tmp_path)

    process, port = start_on_free_port(build, lambda port: port == ports[-1] and len(ports) > 1, timeout=5)
    process.kill()
    assert ports == [ports[0], port]
    assert port < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_the_current_process_is_alive() -> None:
    assert Identity.of(os.getpid()).alive
