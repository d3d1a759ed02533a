"""Runs Python code in a process of its own with little memory and processor time."""

import subprocess
import sys
from pathlib import Path

OPERATOR = Path(__file__).parents[1] / "operator"
_LIMITS = """\
import resource
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, used + {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
"""


def run_limited(
    imports: str, code: str, *arguments: str, stdin: str = "", memory: int = 64 << 20, cpu_seconds: int = 20
) -> str:
    """Return what the code prints, or how it failed; `memory` is in bytes, beyond what the imports take."""
    script = f"import sys\n{imports}\n{_LIMITS.format(memory=memory, seconds=cpu_seconds)}\n{code}"
    command = [sys.executable, "-c", script, *arguments]
    environment = {"PYTHONPATH": str(OPERATOR)}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip() if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-500:]}"
