"""What a job writes of a batch: rows, rejects, report."""
