"""Options, exit codes and document formats that the commands share."""

import json
import os
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import typer
import yaml

from cilium_hybrid.settings import kubeconfig_of


class ExitCode(IntEnum):
    """What a command's exit status means; 0 is success in each."""

    FAILED = 1
    """The manifest is refused, the cluster is not ready, or the plan was not approved."""
    UNKNOWN = 2
    """A wrong argument, an unreadable file, or a cluster or registry that did not answer."""
    CHANGES = 3
    """The plan has at least one step."""


class Output(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", metavar="FORMAT", help="Output format: text, json or yaml.")
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Path to the kubeconfig file. Overrides KUBECONFIG."),
]


def kubeconfig_path(option: str | None) -> str | None:
    """Return the kubeconfig to use: the option, else as the environment says; None for a pod's ServiceAccount."""
    return option or kubeconfig_of(os.environ)


def usage_error(message: str) -> typer.Exit:
    """Print why the command could not run, and return the exception to raise."""
    return exit_with(ExitCode.UNKNOWN, message)


def exit_with(code: ExitCode, message: str) -> typer.Exit:
    """Print a message to standard error, and return the exception to raise."""
    typer.echo(f"cilium-hybrid: {message}", err=True)
    return typer.Exit(code)


def format_document(document: Any, output: Output) -> str:
    """Return a document as JSON, or as YAML that starts with a separator, because several may follow each other."""
    text = json.dumps(document, indent=2)
    if output is Output.YAML:
        # The YAML writer does not accept enums; JSON turns them into strings.
        return yaml.safe_dump(json.loads(text), explicit_start=True, sort_keys=False)
    return f"{text}\n"
