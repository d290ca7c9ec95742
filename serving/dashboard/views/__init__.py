"""The pages, one module each: what is read, and where it stands."""
