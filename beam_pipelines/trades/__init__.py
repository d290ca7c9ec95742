"""Trades: lines of the topic or of landing, windows of 60 s, and their rows; the same for a stream and for a batch."""
