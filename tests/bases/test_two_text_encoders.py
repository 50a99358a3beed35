"""Methods that make hidden states or phrases of a subject, on a base with two text encoders and a global vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.methods import methods
from tests.painted_faces import photograph

from .families import save_tiny

FACES = f"{Path(__file__).parent.parent / 'painted_faces.py'}:networks"
PROMPT = "<ann> on the beach"
MADE = {
    "photomaker": "hidden states, stacked",
    "fastcomposer": "a hidden state",
    "stellar_net": "words of pictures",
    "face0": "the last hidden states",
    "moa": "hidden states of every layer",
    "mix_of_show": "words of every layer",
    "personamagic": "words of every time",
    "dreamdistribution": "a distribution of hidden states",
    "ms_diffusion": "a phrase beside a box",
    "migc": "hidden states of a phrase",
}
"""Method -> what it makes of a subject; one of each kind."""


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(save_tiny("sdxl", tmp_path_factory.mktemp("base") / "sdxl"), device="cpu", faces=FACES)


def ann(*places: int) -> Subject:
    pictures = [photograph((0, left, 8), size=(16, 16)) for left in places]
    masks = [Image.new("L", (16, 16), 255)] * len(pictures)
    return Subject.of(pictures, noun="person", handle="ann", kind="face", masks=masks)


def random_weights(base: Any, recipe: Any, handle: str) -> dict[str, Tensor]:
    """Tensors of the recipe moved away from a start at which they may do nothing."""
    draw = torch.Generator().manual_seed(0)
    with attach(base, (Adapter(recipe, handle),)) as adapted:
        return {
            name: tensor + 0.3 * torch.randn(tensor.shape, generator=draw) if "features" not in name else tensor
            for name, tensor in adapted.tensors.items()
        }


@pytest.mark.parametrize("name", MADE)
def test_a_subject_is_read_at_the_positions_of_the_prompt(sdxl: Any, name: str) -> None:
    """As many positions as ever in every layer, a picture that the subject changes, and at scale 0 the base's own."""
    recipe = methods()[name](ann(4, 5))
    stored = random_weights(sdxl, recipe, "<ann>")
    lengths: set[int] = set()

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            lengths.update((call.states.shape[1], call.key.shape[2]))
        return call

    def painted(scale: float) -> Tensor:
        adapter = Adapter(recipe, "<ann>", stored, scale=scale, noun="person")
        with torch.no_grad(), attach(sdxl, (adapter,)) as adapted:
            if scale:
                next(iter(adapted.live.values())).operations += (note,)
            *_, last = sample(adapted, [PROMPT], seeds=[1], settings=limner.PaintSettings(steps=2))
        return last.latents

    with torch.no_grad(), attach(sdxl, ()) as adapted:
        *_, plain = sample(
            adapted, [PROMPT.replace("<ann>", "person")], seeds=[1], settings=limner.PaintSettings(steps=2)
        )
    whole, half, none = painted(1.0), painted(0.5), painted(0.0)
    assert lengths == {sdxl.text_positions}
    assert bool(whole.isfinite().all())
    assert not torch.allclose(whole, plain.latents, atol=1e-3)
    assert not torch.allclose(half, whole, atol=1e-4)
    if name != "mix_of_show":  # which says two words in the place of the noun
        assert torch.allclose(none, plain.latents, atol=1e-4)


def test_a_phrase_is_the_first_encoders_pooled_output(sdxl: Any) -> None:
    """As in MS-Diffusion's code: `pipe.text_encoder(ids).pooler_output`."""
    tower = sdxl.towers[0]
    ids = tower.tokenizer(["dog", "red car"], padding="max_length", max_length=tower.length, return_tensors="pt")
    with torch.no_grad():
        wanted = tower.model(ids.input_ids).pooler_output
        found = sdxl.phrase_features(["dog", "red car"])
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
