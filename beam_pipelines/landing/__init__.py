"""Files of landing, as Beam reads and writes them."""
