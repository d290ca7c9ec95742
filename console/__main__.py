"""``python -m coinbeam``: the command line."""

from console import main

main()
