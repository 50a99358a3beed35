"""ControlNets, T2I-Adapters and denoisers with more channels do what diffusers' own pipelines do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from PIL import Image

import limner
from limner.bases.common.loading import load
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.errors import FileError, InputError, UnknownName

from .families import save_tiny, stable_diffusion

PROMPT = "a red dog on the beach"
HOW = limner.PaintSettings(steps=3, guidance=3.0)


def shown(colour: bool = True) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (16, 16, 3) if colour else (16, 16), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module", params=["stable_diffusion", "sdxl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp("base") / request.param)


def control_net(folder: Path, to: Path) -> Path:
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    torch.manual_seed(1)
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "controlnet" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    network.save_pretrained(to)
    return to


def t2i_adapter(folder: Path, to: Path) -> Path:
    torch.manual_seed(2)
    if folder.name == "sdxl":
        network = T2IAdapter(3, (16, 32, 32, 32), 1, downscale_factor=4, adapter_type="full_adapter_xl")
    else:
        network = T2IAdapter(3, (16, 32), 1, downscale_factor=2, adapter_type="full_adapter")
    network.save_pretrained(to)
    return to


def theirs(folder: Path, **parts: Any) -> Any:
    """The picture that diffusers' own pipeline paints with a ControlNet or T2I-Adapter."""
    import diffusers

    xl = "XL" if folder.name == "sdxl" else ""
    kind = "ControlNet" if "controlnet" in parts else "Adapter"
    more: dict[str, Any] = parts if xl else {**parts, "safety_checker": None, "requires_safety_checker": False}
    pipeline: Any = getattr(diffusers, f"StableDiffusion{xl}{kind}Pipeline").from_pretrained(folder, **more)
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(4, 8, 8, generator=stream(4, "latents"))[None]
    about: dict[str, Any] = {
        "num_inference_steps": 3,
        "guidance_scale": 3.0,
        "latents": latents,
        "height": 16,
        "width": 16,
    }
    return pipeline(PROMPT, image=shown(), **about).images[0]


@pytest.mark.parametrize("kind", ["controlnet", "adapter"])
def test_a_branch_of_diffusers_layout_paints_what_its_pipeline_paints(folder: Path, kind: str, tmp_path: Path) -> None:
    make, cls = (control_net, ControlNetModel) if kind == "controlnet" else (t2i_adapter, T2IAdapter)
    place, base = make(folder, tmp_path / kind), load(folder, device="cpu")
    about: dict[str, Any] = {"conditions": {"depth": shown()}, "controls": {"depth": place}}
    ours = np.asarray(limner.paint(base, PROMPT, seed=4, settings=HOW, **about)[0].image, dtype=int)
    other = np.asarray(theirs(folder, **{kind: cls.from_pretrained(place)}), dtype=int)
    assert np.abs(ours - other).max() <= 1
    plain = np.asarray(limner.paint(base, PROMPT, seed=4, settings=HOW)[0].image, dtype=int)
    assert np.abs(ours - plain).max() > 3


def test_residuals_of_two_branches_add_up(folder: Path, tmp_path: Path) -> None:
    from limner.core.recipe import Recipe
    from limner.engine.attach import Adapter, attach
    from limner.parts.modifiers import opened_control

    base = load(folder, device="cpu")
    places = {"depth": control_net(folder, tmp_path / "net"), "edges": t2i_adapter(folder, tmp_path / "t2i")}
    conditions = {name: torch.rand(1, 3, 16, 16, generator=stream(0, name)) for name in places}
    x, time = torch.randn(1, 4, 8, 8, generator=stream(0, "x")), torch.tensor([500])

    def predicted(*names: str) -> Any:
        parts = [Adapter(Recipe("", (opened_control(n, str(places[n])),)), f"<{n}>") for n in names]
        with torch.no_grad(), attach(base, parts) as adapted:
            states = adapted.text_states([PROMPT])
            return base.predict(x, time, states, context=adapted.run(time=time, conditions=conditions))

    every = [
        predicted(),
        predicted("depth"),
        predicted("edges"),
        predicted("depth", "edges"),
        predicted("edges", "depth"),
    ]
    assert torch.allclose(every[3], every[4], atol=1e-5)
    assert all(not torch.allclose(every[3], other, atol=1e-3) for other in every[:3])


@pytest.mark.parametrize("kind", ["control_branch", "feature_branch"])
def test_new_branches_fit_both_shapes(folder: Path, kind: str) -> None:
    from limner.core.recipe import Recipe
    from limner.engine.attach import Adapter, attach
    from limner.parts import modifiers

    base, shown = load(folder, device="cpu"), torch.rand(1, 3, 16, 16)
    part = getattr(modifiers, kind)("depth")
    with torch.no_grad(), attach(base, [Adapter(Recipe("", (part,)), "<depth>")]) as adapted:
        states, time = adapted.text_states([PROMPT]), torch.tensor([500])
        x = torch.randn(1, 4, 8, 8, generator=stream(0, "x"))
        found = base.predict(x, time, states, context=adapted.run(time=time, conditions={"depth": shown}))
        plain = base.predict(x, time, states, context=Pass())
    assert torch.equal(found, plain) == (kind == "control_branch")


def test_a_base_that_takes_no_residuals_says_so(tmp_path: Path) -> None:
    base = load(save_tiny("deepfloyd", tmp_path / "deepfloyd"), device="cpu")
    place = control_net(stable_diffusion(tmp_path / "sd"), tmp_path / "net")
    with pytest.raises(InputError, match="takes no residuals of control branches"):
        limner.paint(base, PROMPT, controls={"depth": place})


def test_a_branch_of_another_base_or_none_is_refused(tmp_path: Path) -> None:
    base = load(stable_diffusion(tmp_path / "sd", "1.5"), device="cpu")
    T2IAdapter(3, (16, 48), 1, downscale_factor=2).save_pretrained(tmp_path / "other")
    about: Any = {"conditions": {"depth": shown()}, "settings": HOW}
    with pytest.raises(InputError, match=r"\(16, 48\).*\(16, 32\).*another base"):
        limner.paint(base, PROMPT, controls={"depth": tmp_path / "other"}, **about)
    with pytest.raises(FileError, match=r"no config\.json"):
        limner.paint(base, PROMPT, controls={"depth": tmp_path / "nothing"}, **about)
    with pytest.raises(FileError, match="UNet2DConditionModel; expected a control branch"):
        limner.paint(base, PROMPT, controls={"depth": tmp_path / "sd" / "unet"}, **about)


# ---------------------------------------------------------------------------------------------- channels of conditions


def with_channels(folder: Path, channels: int, pipeline: str) -> Any:
    """A Stable Diffusion whose UNet reads so many channels."""
    stable_diffusion(folder, "1.5")
    config = dict(UNet2DConditionModel.load_config(folder, subfolder="unet"))
    torch.manual_seed(3)
    made: Any = UNet2DConditionModel.from_config(config | {"in_channels": channels})
    made.save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": pipeline}))
    return load(folder, device="cpu")


CASES = {
    9: "StableDiffusionInpaintPipeline",
    8: "StableDiffusionInstructPix2PixPipeline",
    5: "StableDiffusionDepth2ImgPipeline",
}


@pytest.mark.parametrize("channels", CASES)
@torch.no_grad()
def test_more_channels_are_filled_as_their_pipelines_fill_them(channels: int, tmp_path: Path) -> None:
    base = with_channels(tmp_path / "base", channels, CASES[channels])
    assert base.latent_shape == (4, 8, 8)
    x, time, states = torch.randn(2, 4, 8, 8), torch.tensor([500, 100]), base.text_states([PROMPT] * 2, words={})
    source, mask = torch.rand(2, 3, 16, 16), (torch.rand(2, 1, 16, 16) > 0.5).float()
    depth = torch.rand(2, 1, 16, 16)
    encode = base.autoencoder.encode
    match channels:
        case 9:
            kept = (2 * source - 1) * (mask < 0.5)  # masked pixels are 0 in [-1, 1]
            small = torch.nn.functional.interpolate(mask, (8, 8))
            more, given = [small, encode(kept).latent_dist.mean * 0.18215], {"source": source, "mask": mask}
        case 8:
            more, given = [encode(2 * source - 1).latent_dist.mean], {"source": source}
        case _:
            small = torch.nn.functional.interpolate(depth, (8, 8), mode="bicubic")
            low, high = small.amin((1, 2, 3), True), small.amax((1, 2, 3), True)
            more, given = [2 * (small - low) / (high - low) - 1], {"depth": depth}
    wanted = base.denoiser(torch.cat([x, *more], 1), time, encoder_hidden_states=states).sample
    found = base.predict(x, time, states, context=Pass(conditions=given))
    assert torch.allclose(found, wanted, atol=1e-5)
    blank = base.predict(x, time, states, context=Pass())
    assert blank.shape == x.shape
    assert not torch.allclose(found, blank, atol=1e-3)


def test_a_base_with_nine_channels_learns_and_paints(tmp_path: Path, rex: Subject) -> None:
    from limner.methods import methods
    from tests.helpers import fast, same, state, untouched

    base = with_channels(tmp_path / "base", 9, CASES[9])
    before = state(base)
    concept = limner.learn(base, rex, method="lora_dreambooth", **fast(methods()["lora_dreambooth"], rank=2))
    counts: list[int] = []
    real = base.encode
    base.encode = lambda pixels: (counts.append(len(pixels)), real(pixels))[1]
    conditions: Any = {"source": shown(), "mask": shown(colour=False)}
    limner.paint(base, "<rex> on the beach", concepts=[concept], settings=HOW, conditions=conditions)
    assert len(counts) == 1  # one pass over all branches, once for all steps
    assert same(state(base), before)
    assert untouched(base)
    with pytest.raises(InputError, match="'mask' is read beside source"):
        limner.paint(base, PROMPT, settings=HOW, conditions={"source": shown()})
    with pytest.raises(UnknownName, match="did you mean 'source'"):
        limner.paint(base, PROMPT, settings=HOW, conditions={"sorce": shown()})


def test_channels_of_no_known_use_are_refused(tmp_path: Path) -> None:
    base = with_channels(tmp_path / "base", 7, "StableDiffusionPipeline")
    with pytest.raises(InputError, match="reads 7 channels, of which 4 are latents"):
        limner.paint(base, PROMPT, settings=HOW)
