"""SHA-256 and BLAKE2b without OpenSSL, which hashlib loads first: 1 % of a short run.

These are Python's own implementations of the same functions.  CPython's random.py imports SHA-512
in the same way.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b
try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # from Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

__all__ = ["blake2b", "sha256"]
