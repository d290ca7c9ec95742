"""The asset kernel: coin list and coin details as rows of the asset dimension. Pure, without Beam."""
