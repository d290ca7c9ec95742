"""The market as CoinGecko's own clients ask for it, and the marts with types of their own, over HTTP."""
