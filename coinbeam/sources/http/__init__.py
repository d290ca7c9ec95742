"""An HTTP client for any source: it keeps to a rate, retries what may succeed, and says what to do about the rest."""
