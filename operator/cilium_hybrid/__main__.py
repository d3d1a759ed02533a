"""The command `cilium-hybrid`."""

import sys


def main() -> None:
    """The entry point of the distribution."""
    if sys.argv[1:] == ["run"]:
        # The operator is there for months, and a command line's libraries are two megabytes of its memory.
        from cilium_hybrid.operate import run  # noqa: PLC0415

        sys.exit(run())
    from cilium_hybrid.commands import app  # noqa: PLC0415

    app()


if __name__ == "__main__":
    main()
