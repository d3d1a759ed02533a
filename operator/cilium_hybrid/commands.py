"""What `cilium-hybrid` can be asked for."""

import typer

from cilium_hybrid.api.crd import crd_yaml
from cilium_hybrid.cli.approve import approve
from cilium_hybrid.cli.plan import plan
from cilium_hybrid.cli.status import status
from cilium_hybrid.cli.validate import validate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def cilium_hybrid() -> None:
    """Own Cilium's life on the hybrid nodes of an Amazon EKS cluster."""


app.command()(validate)
app.command()(plan)
app.command()(status)
app.command()(approve)


@app.command()
def crd() -> None:
    """Print the CustomResourceDefinition."""
    typer.echo(crd_yaml(), nl=False)


@app.command()
def run() -> None:
    """Run the operator, in a cluster or with KUBECONFIG. Settings: environment, prefix CILIUM_HYBRID_."""
    # Imported here: `cilium-hybrid crd` needs none of it.
    from cilium_hybrid.operate import run as run_operator  # noqa: PLC0415

    raise typer.Exit(run_operator())
