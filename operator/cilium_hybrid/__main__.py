"""The entry point of `cilium-hybrid`."""

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["run"]:
        # The operator runs for months; without the command line's libraries it needs 2 MB less memory.
        from cilium_hybrid.operate import run  # noqa: PLC0415

        sys.exit(run())
    from cilium_hybrid.commands import app  # noqa: PLC0415

    app()


if __name__ == "__main__":
    main()
