"""The Fear & Greed kernel: bodies of the index in, one row a day out. It does not know Beam."""
