import asyncio
import os
import sys
from pathlib import Path

import pytest

from cilium_hybrid.adapters.helm import process
from cilium_hybrid.adapters.helm.process import MAX_STDERR, MAX_STDOUT, Ended


def run(script: str, stdin: bytes | None = None, seconds: float = 60.0) -> Ended:
    return asyncio.run(process.run(["/bin/sh", "-c", script], stdin, os.environ, seconds))


def run_python(code: str, seconds: float = 60.0) -> Ended:
    return asyncio.run(process.run([sys.executable, "-c", code], None, os.environ, seconds))


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_output_and_code_of_a_process() -> None:
    assert run("cat; echo error >&2; exit 3", b"in") == Ended(3, b"in", b"error\n")


def test_a_process_that_does_not_read_its_input() -> None:
    assert run("exit 0", b"x" * (1 << 20)) == Ended(0, b"", b"")


def test_a_missing_program_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(process.run(["/nowhere/helm"], None, os.environ, 60.0))


def test_a_process_gets_sigterm_at_its_deadline(tmp_path: Path) -> None:
    pid, end = tmp_path / "pid", tmp_path / "end"
    ended = run(
        f"trap 'echo marked failed > {end}; exit 1' TERM; echo $$ > {pid}; while :; do sleep 0.01; done", seconds=1
    )

    assert ended.timed_out
    assert end.read_text() == "marked failed\n"
    assert not exists(int(pid.read_text()))


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    pid = tmp_path / "pid"
    ended = run(f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.01; done", seconds=1)

    assert ended.timed_out
    assert not exists(int(pid.read_text()))


def test_a_child_that_holds_the_output_open_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    pid = tmp_path / "pid"
    try:
        ended = run(f"sleep 300 & echo $! > {pid}; sleep 300", seconds=1)
        assert ended.timed_out
    finally:
        os.kill(int(pid.read_text()), 9)


def test_endless_output_ends_the_process_and_is_not_kept() -> None:
    ended = run_python("import os\nwhile True: os.write(1, b'x' * 65536)")

    assert ended.too_long
    assert ended.stdout == b""
    assert ended.code < 0


def test_the_longest_output_is_kept() -> None:
    ended = run_python(f"import sys; sys.stdout.write('x' * {MAX_STDOUT})")

    assert (ended.code, len(ended.stdout), ended.too_long) == (0, MAX_STDOUT, False)


def test_only_the_end_of_the_errors_is_kept() -> None:
    ended = run_python("import sys; sys.stderr.write('x' * 5_000_000 + 'the end'); sys.exit(1)")

    assert len(ended.stderr) == MAX_STDERR
    assert ended.stderr.endswith(b"xthe end")
