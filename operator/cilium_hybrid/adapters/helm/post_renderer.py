"""Helm's post-renderer, run as a script: it imports nothing of this package, so that it starts in 20 ms.

`capture <file>` copies what Helm rendered to a file. `replace <file> <SHA-256>` replaces what Helm rendered by the
content of the file, and fails if it is not the expected content, so that Helm applies nothing.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

MAX_BYTES = 16 << 20
"""Of what a chart may render. Helm's Secret of a release holds one MiB, compressed."""


def post_render(arguments: Sequence[str], rendered: bytes) -> bytes:
    """Return what Helm is to use; ValueError if it is too much or unexpected, OSError if it cannot be read."""
    match arguments:
        case ["capture", file]:
            if len(rendered) > MAX_BYTES:
                raise ValueError(f"the chart renders more than {MAX_BYTES >> 20} MiB")
            Path(file).write_bytes(rendered)
            return rendered
        case ["replace", file, digest]:
            content = Path(file).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise ValueError(f"{file} is not what was judged")
            return content
        case _:
            raise ValueError(f"unknown arguments: {arguments}")


if __name__ == "__main__":
    sys.stdout.buffer.write(post_render(sys.argv[1:], sys.stdin.buffer.read(MAX_BYTES + 1)))
