"""Which precisions a device emulates, and which it computes fastest in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

Precision: TypeAlias = Literal["bfloat16", "float32"]


def emulates(device: torch.device | str, dtype: str) -> bool:
    """Whether a device has no instructions for a precision and emulates it, so that an update of training may take
    twenty times as long. A CPU needs AMX or AVX512-BF16 for half precision, a GPU the Ampere generation for bfloat16.

    dtype: "float32", "bfloat16" or "float16"
    """
    import torch

    kind = torch.device(device).type
    if dtype == "float32":
        return False
    if kind == "cuda":
        return dtype == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def fastest_precision(device: torch.device | str) -> Precision:
    """bfloat16, or float32 on a device that emulates it."""
    return "float32" if emulates(device, "bfloat16") else "bfloat16"
