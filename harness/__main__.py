"""`python -m harness` is the `sightline` command."""

from harness.cli import main

main()
