"""A picture's code in the space W+ of a face GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class gan_latent:
    """[n, 3, H, W] in [0, 1] -> [n, L, D]: each picture's code in W+, one vector for each layer of the generator.

    Source: arXiv:2102.02766. Raises `InputError` where there is no encoder.

    folder: folder of a StyleGAN with an encoder beside it; empty is the base's own encoder, of role "w_plus"
    """

    folder: str = ""

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            codes: Tensor = self._network(base, str(pixels.device))(pixels)
            return codes

    def _network(self, base: Base, device: str) -> Any:
        if self.folder:
            from limner.bases.gan.encoder import open_encoder

            return open_encoder(self.folder, device=device)
        if "w_plus" in base.encoders:
            return base.encoders["w_plus"]
        raise InputError(f"{base.name} comes with no encoder into the space W+ of a face GAN; name the folder of one")
