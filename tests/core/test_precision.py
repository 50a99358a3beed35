"""bfloat16 is chosen where the device has instructions for it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from limner.core.precision import emulates, fastest_precision
from limner.core.recipe import Recipe
from limner.workflows.opening import plan_memory
from limner.workflows.pretrain import Manner, prepared
from limner.workflows.requests import BaseChoice


def on_a_cpu(monkeypatch: pytest.MonkeyPatch, *, amx: bool = False, avx512: bool = False) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)


def test_a_cpu_computes_in_bfloat16_with_either_kind_of_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch)
    assert fastest_precision("cpu") == "float32"
    on_a_cpu(monkeypatch, amx=True)
    assert fastest_precision("cpu") == "bfloat16"
    on_a_cpu(monkeypatch, avx512=True)
    assert fastest_precision(torch.device("cpu")) == "bfloat16"


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_emulates_bfloat16_computes_in_single_precision(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert fastest_precision("cuda:1") == ("bfloat16" if native else "float32")
    assert emulates("cuda", "bfloat16") != native
    assert not emulates("cuda", "float16")  # which all GPUs have
    assert not emulates("mps", "bfloat16")


def test_a_base_in_a_precision_that_the_processor_emulates_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    half = BaseChoice(name="pocket", dtype="bfloat16", device="cpu")
    on_a_cpu(monkeypatch)
    assert plan_memory(half, Recipe(says=""))[1] == (
        "this device emulates bfloat16, which takes many times as long as float32"
    )
    assert not plan_memory(replace(half, dtype="float32"), Recipe(says=""))[1]
    on_a_cpu(monkeypatch, avx512=True)
    assert not plan_memory(half, Recipe(says=""))[1]


def test_pretraining_takes_the_fastest_precision_and_records_which(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch)
    assert prepared("ip_adapter", given={}).header["precision"] == "float32"
    on_a_cpu(monkeypatch, amx=True)
    assert prepared("ip_adapter", given={}).header["precision"] == "bfloat16"
    assert prepared("ip_adapter", given={}, manner=Manner(precision="float32")).header["precision"] == "float32"
