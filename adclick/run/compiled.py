"""Loops in machine code."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any], in_any_order: bool = True) -> Any:
    """The function in machine code, kept on disk for the next process where a folder allows it.

    Sums may be taken in any order, so that vector instructions can be used; no other liberties.
    """
    fastmath = {"reassoc", "contract", "nsz"} if in_any_order else False
    options = {"nogil": True, "fastmath": fastmath}
    compiler: Any = numba
    try:
        return compiler.njit(function, cache=True, **options)
    except RuntimeError:  # no folder can be written
        return compiler.njit(function, **options)
