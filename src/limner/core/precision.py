"""Which precision a device computes fastest in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

Precision: TypeAlias = Literal["bfloat16", "float32"]


def fastest_precision(device: torch.device | str) -> Precision:
    """bfloat16 on a GPU that computes in it and on a CPU with instructions for it (AMX, AVX512-BF16), else float32.

    A CPU without them emulates bfloat16: an update of training then takes up to twenty times as long.
    """
    import torch

    match torch.device(device).type:
        case "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        case _:
            fast = False
    return "bfloat16" if fast else "float32"
