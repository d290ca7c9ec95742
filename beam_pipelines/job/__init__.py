"""What every job does between its command line and its report."""
