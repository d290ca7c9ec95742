"""The core of the warehouse in third normal form, in PostgreSQL."""
