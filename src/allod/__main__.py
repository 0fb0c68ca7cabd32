"""`python -m allod` is the `allod` command."""

from allod.cli.main import run

if __name__ == "__main__":
    run()
