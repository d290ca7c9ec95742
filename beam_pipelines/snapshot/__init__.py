"""The market snapshot kernel: pages of ``/coins/markets`` in, columns, rejects and CSV out, without Beam."""
