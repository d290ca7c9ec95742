"""``python -m coinbeam``: the command line."""

from coinbeam.cli import main

main()
