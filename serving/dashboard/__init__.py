"""The dashboard: the market and the trust in it, in a browser, from the serving bundle alone."""
