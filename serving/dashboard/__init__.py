"""The market and the trust in it, in a browser."""
