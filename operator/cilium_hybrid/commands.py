"""The commands of `cilium-hybrid`."""

from importlib.metadata import version as installed_version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from cilium_hybrid.api.crd import crd_yaml
from cilium_hybrid.cli.approve import approve
from cilium_hybrid.cli.plan import plan
from cilium_hybrid.cli.status import status
from cilium_hybrid.cli.validate import validate

DISTRIBUTION: Final = "cilium-hybrid-operator"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command whose help is formatted like kubectl's."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line; required arguments have no braces."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_epilog(self, _: Any, formatter: Any) -> None:
        """Write the examples without wrapping their lines."""
        if self.epilog:
            formatter.write(f"\nExamples:\n{self.epilog}\n")


def _examples(*examples: tuple[str, str]) -> str:
    """Return comments and command lines as an epilog."""
    return "\n\n".join(f"  # {comment}\n  {command}" for comment, command in examples)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(installed_version(DISTRIBUTION))
        raise typer.Exit


@app.callback()
def cilium_hybrid(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Manage Cilium on Amazon EKS hybrid nodes."""


app.command(
    cls=_Command,
    epilog=_examples(
        ("Validate all manifests in a directory", "cilium-hybrid validate manifests/"),
        (
            "Validate what a kustomization renders, and treat warnings as errors",
            "kubectl kustomize overlays/site | cilium-hybrid validate --strict -",
        ),
    ),
)(validate)
app.command(
    cls=_Command,
    epilog=_examples(("Show the steps that a changed manifest leads to", "cilium-hybrid plan ciliumhybrid.yaml")),
)(plan)
app.command(
    cls=_Command,
    epilog=_examples(
        ("Show the state of every hybrid node", "cilium-hybrid status"),
        ("Follow an upgrade", "cilium-hybrid status --watch"),
    ),
)(status)
app.command(
    cls=_Command,
    epilog=_examples(
        ("Review the plan and approve it", "cilium-hybrid approve"),
        ("Approve a plan that was reviewed elsewhere", "cilium-hybrid approve --digest sha256:0123..."),
    ),
)(approve)


@app.command(
    cls=_Command,
    epilog=_examples(("Install or update the CRD", "cilium-hybrid crd | kubectl apply --server-side -f -")),
)
def crd() -> None:
    """Print the CustomResourceDefinition."""
    typer.echo(crd_yaml(), nl=False)


@app.command(cls=_Command)
def run() -> None:
    """Run the operator, in the cluster or with a kubeconfig.

    Settings come from environment variables with the prefix CILIUM_HYBRID_. Outside a cluster, KUBECONFIG names the
    kubeconfig file.
    """
    # Imported here: `cilium-hybrid crd` needs none of it.
    from cilium_hybrid.operate import run as run_operator  # noqa: PLC0415

    raise typer.Exit(run_operator())
