"""Where the exact bytes of every answer lie."""
