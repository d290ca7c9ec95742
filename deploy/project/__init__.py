"""A whole project: from an empty one with billing to the first published batch, and what a project should be."""
