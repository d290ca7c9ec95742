"""``python -m console``: the command line."""

from console import main

main()
