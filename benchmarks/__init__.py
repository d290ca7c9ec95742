"""Side by side with what a user would pick instead: the same pages, the same rules, the same machine, one run."""
