"""Live trades: the messages that carry them, the publisher that follows a venue, and what happens to closed windows."""
