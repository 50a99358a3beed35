"""Memory that is kept, so that freed pages are not asked for anew, and memory that is returned."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from limner.core.memory import keep_memory
kept = keep_memory() if sys.argv[1] == "kept" else False
import torch
def faults():
    for _ in range(20):
        torch.ones(12_000_000).sum()  # more than glibc ever keeps of itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(int(kept), faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_not_asked_for_anew() -> None:
    told = {}
    for how in ("kept", "plain"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        told[how] = [int(word) for word in done.stdout.split()]
    if not told["kept"][0]:
        pytest.skip("this C library has no such setting")
    assert told["kept"][1] * 4 < told["plain"][1]


GAPS = """
import sys
from limner.core.memory import keep_memory, return_memory
def resident():
    lines = open("/proc/self/status", encoding="utf-8").readlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
kept = keep_memory()
blocks = [bytearray(100_000) for _ in range(1000)]
blocks = blocks[::10]  # nine of ten are free again, in gaps between the others
before = resident()
return_memory()
print(int(kept), before, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a function of glibc")
def test_memory_that_nothing_uses_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=True)
    kept, before, after = (int(word) for word in done.stdout.split())
    if not kept:
        pytest.skip("this C library has no such function")
    assert before - after > 60_000  # kB, of 90 MB that were freed
