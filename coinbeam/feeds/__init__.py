"""What happens to a batch between its jobs, one package or module a feed."""
