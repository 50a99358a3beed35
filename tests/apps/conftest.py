"""A ControlNet for tests of commands and of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def control(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet for the pocket base, with zero convolutions that are not zero."""
    from diffusers import ControlNetModel

    folder = tmp_path_factory.mktemp("control")
    torch.manual_seed(0)
    network = ControlNetModel.from_unet(base.denoiser, conditioning_embedding_out_channels=(8, 8, 8, 8))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "controlnet" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return folder
