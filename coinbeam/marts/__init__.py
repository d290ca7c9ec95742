"""The marts: recomputed for what publishes touched since the last refresh, and never from the beginning."""
