"""The Beam jobs of Coinbeam: one thin entry module per job, pure columnar functions beside them, transforms that only wire."""
