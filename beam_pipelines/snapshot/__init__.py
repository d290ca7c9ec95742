"""The market snapshot kernel: pages of ``/coins/markets`` in, validated columns, rejects and CSV out. Only
``transform`` knows Beam.
"""
