"""A CLIP image encoder that comes with a method's weights, in place of the base's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

TOWER = "tower."
"""Prefix of its tensors' names, which transformers' names follow: "tower.vision_model....". """
HEAD = 64
"""Width of an attention head: CLIP's image encoders of the sizes B and L have heads of this width."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class own_tower:
    """[n, 3, H, W] in [0, 1] -> [n, D]: the pooled state, before any projection, of the encoder among stored tensors.

    stored: tensors of a method's weights, the encoder's among them
    resize: how pictures are resized to the encoder's size, "bicubic" or "bilinear"
    """

    stored: Mapping[str, Tensor] = field(repr=False)
    resize: str = "bicubic"

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        network = self._network
        size = int(network.config.image_size)
        inputs = F.interpolate(pixels.to(base.device, torch.float32), (size, size), mode=self.resize, antialias=True)
        mean, std = (torch.tensor(values, device=inputs.device).view(1, 3, 1, 1) for values in (MEAN, STD))
        with torch.no_grad():
            pooled: Tensor = network(((inputs.clamp(0, 1) - mean) / std).to(base.dtype)).pooler_output
        return pooled

    @property
    def _network(self) -> Any:
        import torch
        from transformers import CLIPVisionConfig, CLIPVisionModel

        state = {name.removeprefix(TOWER): t for name, t in self.stored.items() if name.startswith(TOWER)}
        config = CLIPVisionConfig(**sizes(state))
        with torch.device("meta"):
            network = CLIPVisionModel(config)
        names = network.state_dict().keys()
        bare = {name.removeprefix("vision_model."): tensor for name, tensor in state.items()}
        missing = [name for name in names if name.removeprefix("vision_model.") not in bare]
        if missing:
            raise FileError(f"the image encoder among the weights lacks {missing[0]}: import the release again")
        network.load_state_dict({name: bare[name.removeprefix("vision_model.")] for name in names}, assign=True)
        for module in network.modules():
            if "position_ids" in module._buffers:
                count = len(bare["embeddings.position_embedding.weight"])
                module._buffers["position_ids"] = torch.arange(count, device=state[min(state)].device)[None]
        return network.requires_grad_(False).eval()


def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The arguments of transformers' CLIPVisionConfig that the shapes of its tensors tell. Raises `FileError` for
    tensors of another network.

    state: tensors by transformers' names
    """
    start = "vision_model."
    try:
        patches, places = (
            state[f"{start}embeddings.{name}.weight"] for name in ("patch_embedding", "position_embedding")
        )
        layers = {name.split(".")[3] for name in state if name.startswith(f"{start}encoder.layers.")}
        inner = len(state[f"{start}encoder.layers.0.mlp.fc1.weight"])
    except (KeyError, IndexError) as error:
        raise FileError(f"the image encoder among the weights lacks {error}: import the release again") from error
    wide, patch = patches.shape[0], patches.shape[-1]
    if wide % HEAD:
        raise FileError(f"the image encoder among the weights is {wide} wide, expected a multiple of {HEAD}")
    about = {"hidden_size": wide, "intermediate_size": inner, "num_attention_heads": wide // HEAD}
    about |= {"num_hidden_layers": len(layers), "patch_size": patch}
    return about | {"image_size": round((len(places) - 1) ** 0.5) * patch}
