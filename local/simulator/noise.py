"""Noise without state: every number is a function of (seed, stream, indexes), so any instant can be computed alone.

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). A
generator object would tie the market to the order of calls and to the version of numpy.
"""

import hashlib
import zlib

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
HashArray = npt.NDArray[np.uint64]

NORMAL_BOUND = 2 * 3**0.5
"""No value of :func:`normals` is farther from zero: the sum of four uniforms has bounded support."""

_GOLDEN = 0x9E3779B97F4A7C15
_SECOND = 0xD1B54A32D192ED03
_WORD = (1 << 64) - 1


def hashes(seed: int, stream: str, index: IntArray, second: IntArray | None = None) -> HashArray:
    """64 random bits for every index; with ``second``, for every pair of broadcast indexes.

    Args:
        seed: the market's seed.
        stream: what the bits are for; two streams are independent.
        index: coin slots.
        second: lattice positions.
    """
    key = np.uint64((seed * _GOLDEN + zlib.crc32(stream.encode()) * _SECOND) & _WORD)
    state = index.astype(np.uint64) * np.uint64(_GOLDEN) + key
    if second is not None:
        state = state + second.astype(np.uint64) * np.uint64(_SECOND)
    return _finalise(_finalise(state) if second is None else state)


def _finalise(state: HashArray) -> HashArray:
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def uniforms(seed: int, stream: str, index: IntArray, second: IntArray | None = None) -> FloatArray:
    """Numbers uniform in [0, 1)."""
    return (hashes(seed, stream, index, second) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(seed: int, stream: str, index: IntArray, second: IntArray | None = None) -> FloatArray:
    """Numbers close to standard normal, within ``NORMAL_BOUND``: four 16-bit uniforms of one hash, summed, scaled."""
    bits = hashes(seed, stream, index, second)
    low = np.uint64(0xFFFF)
    total = bits & low
    for _ in range(3):
        bits >>= np.uint64(16)
        total += bits & low
    scaled: FloatArray = (total.astype(np.float64) * 2.0**-16 - 2.0) * 3**0.5
    return scaled


def below(seed: int, stream: str, index: IntArray, share: float) -> BoolArray:
    """True for about ``share`` of the indexes."""
    return uniforms(seed, stream, index) < share


def text_hash(seed: int, stream: str, text: str) -> int:
    """64 random bits for a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{stream}:{text}".encode(), digest_size=8).digest(), "big")
