"""Memory that is kept: freed pages are not asked for anew."""

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
