"""The CoinGecko API: an HTTP client that keeps to the plan, retries what may succeed, and says what to do about the
rest.
"""
