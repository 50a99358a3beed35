"""Settings of the C library's memory allocator."""

from __future__ import annotations

import sys
from typing import Any

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of glibc's mallopt
LARGEST = 1 << 30


def keep_memory() -> bool:
    """Make the C library reuse freed memory rather than return it to the system. Returns whether it does.

    By default, glibc returns the memory of large tensors as soon as they are freed and requests it again in every
    layer, which takes a tenth to a fifth of the processor's time in training and sampling on a CPU. The setting affects
    the whole process: limner's own commands make it; a library should not, and a service may when it starts. Other C
    libraries are not changed.
    """
    mallopt = _of_c("mallopt")
    return mallopt is not None and all(mallopt(what, LARGEST) == 1 for what in (MMAP_THRESHOLD, TRIM_THRESHOLD))


def return_memory() -> None:
    """Return the pages that nothing uses to the system. A server calls this now and then: memory of many sizes, freed
    in another order than it was taken in, leaves more and more gaps, above all after `keep_memory`."""
    malloc_trim = _of_c("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_c(name: str) -> Any:
    """A function of glibc; None where the C library has none of this name."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), name, None)
