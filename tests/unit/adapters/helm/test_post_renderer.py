import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from cilium_hybrid.adapters.helm import post_renderer

JUDGED = "kind: ConfigMap\ndata: {a: ü}\n".encode()
DIGEST = hashlib.sha256(JUDGED).hexdigest()


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-S", post_renderer.__file__, *map(str, arguments)]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False)


def test_it_captures_what_helm_rendered(tmp_path: Path) -> None:
    output = run("capture", tmp_path / "out", stdin=JUDGED)

    assert (output.returncode, output.stdout, (tmp_path / "out").read_bytes()) == (0, JUDGED, JUDGED)


def test_it_replaces_what_helm_rendered(tmp_path: Path) -> None:
    (tmp_path / "judged").write_bytes(JUDGED)
    output = run("replace", tmp_path / "judged", DIGEST, stdin=b"kind: Secret")

    assert (output.returncode, output.stdout) == (0, JUDGED)


@pytest.mark.parametrize("content", [b"", JUDGED + b"\n", JUDGED[:-1], None], ids=["empty", "more", "less", "none"])
def test_it_fails_without_output_if_the_file_is_another(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "judged").write_bytes(content)
    output = run("replace", tmp_path / "judged", DIGEST, stdin=JUDGED)

    assert output.returncode != 0
    assert output.stdout == b""


@pytest.mark.parametrize("arguments", [[], ["capture"], ["replace", "x"], ["print", "x"]])
def test_it_fails_with_other_arguments(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match="unknown arguments"):
        post_renderer.post_render(arguments, JUDGED)


def test_it_captures_no_more_than_the_operator_can_hold(tmp_path: Path) -> None:
    output = run("capture", tmp_path / "out", stdin=b"#" * (post_renderer.MAX_BYTES + 1))

    assert output.returncode != 0
    assert f"renders more than {post_renderer.MAX_BYTES >> 20} MiB".encode() in output.stderr
    assert not (tmp_path / "out").exists()
