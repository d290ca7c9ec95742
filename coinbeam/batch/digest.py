"""Short identifiers made of a text."""

import hashlib


def digest(*parts: str, length: int = 8) -> str:
    """First hexadecimal digits of the SHA-256 of the parts: an identifier, not a secret."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:length]
