from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from builders import DIGEST
from cilium_hybrid.cli.options import kubeconfig_path
from cilium_hybrid.commands import app
from manifests.expected import SAMPLES

COMMANDS = ("validate", "plan", "status", "approve", "crd", "run")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_each_command_prints_its_help(command: tuple[str, ...]) -> None:
    short, long = (
        CliRunner().invoke(app, [*command, option], prog_name="cilium-hybrid") for option in ("-h", "--help")
    )

    assert (short.exit_code, short.stderr) == (0, "")
    assert short.stdout == long.stdout
    assert short.stdout.startswith(" ".join(["Usage: cilium-hybrid", *command]))


def test_the_help_lists_each_command_with_a_summary_on_one_line() -> None:
    _, _, listed = CliRunner().invoke(app, ["-h"]).stdout.partition("Commands:\n")

    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)


@pytest.mark.parametrize("command", ["validate", "plan", "status", "approve"])
def test_the_help_names_the_exit_codes(command: str) -> None:
    assert "\n  Exit codes: 0 " in CliRunner().invoke(app, [command, "-h"]).stdout


def test_the_version_is_that_of_the_installed_package() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"{version('cilium-hybrid-operator')}\n")


def test_the_kubeconfig_option_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/from/environment")

    assert kubeconfig_path("/from/option") == "/from/option"
    assert kubeconfig_path(None) == "/from/environment"


@pytest.mark.parametrize(
    "command", [("plan", str(SAMPLES[0])), ("status",), ("approve", "--digest", DIGEST)], ids=" ".join
)
def test_a_missing_kubeconfig_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "from-environment"))
    result = CliRunner().invoke(app, [*command, "--kubeconfig", str(tmp_path / "from-option")])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"cilium-hybrid: cannot read kubeconfig {tmp_path}/from-option: ")
