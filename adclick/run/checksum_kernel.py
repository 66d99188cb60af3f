"""The sum that HDF5 keeps of a chunk, compiled by numba."""

from typing import no_type_check

import numpy as np

from adclick.run.compiled import compiled

FULL = 65535  # sums of 16-bit words are taken modulo this
BLOCK = 4096  # words whose weighted sum fits 64 bits many times over


@compiled
@no_type_check
def fletcher32_of_words(words: np.ndarray, last: int) -> int:
    """The two sums of big-endian words; `last` is one more word, or -1.

    A swapped word is 256 times the word modulo 65535, and so are sums of them: they are swapped
    once, at the end. HDF5 leaves a sum that is a multiple of 65535, but not 0, as 65535.
    """
    first = np.uint64(0)
    second = np.uint64(0)
    some = np.uint64(last > 0)
    for start in range(0, len(words), BLOCK):
        part = words[start : start + BLOCK]
        count = np.uint64(len(part))
        total = np.uint64(0)
        weighted = np.uint64(0)
        for index in range(len(part)):
            value = np.uint64(part[index])
            total += value
            weighted += value * np.uint64(index)
        second = (second + count * first + count * total - weighted) % np.uint64(FULL)
        first = (first + total) % np.uint64(FULL)
        some |= total
    first = (first * np.uint64(256)) % np.uint64(FULL)
    second = (second * np.uint64(256)) % np.uint64(FULL)
    if last >= 0:
        first = (first + np.uint64(last)) % np.uint64(FULL)
        second = (second + first) % np.uint64(FULL)
    if some:
        first = first if first else np.uint64(FULL)
        second = second if second else np.uint64(FULL)
    return (second << np.uint64(16)) | first
