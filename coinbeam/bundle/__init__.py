"""The serving bundle: what readers outside of the warehouse read, one immutable version after each refresh."""
