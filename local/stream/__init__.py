"""A stream on one machine: broker, publisher and pipeline, each started again when it ends."""
