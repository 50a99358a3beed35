"""Every method on tiny random bases of other shapes: it works, or says which capability the base lacks before the
denoiser has run once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import limner
from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.core.weights import cached_weights_path, weights_path
from limner.errors import InputError
from limner.methods import card, methods
from limner.pocket.capabilities import CAPABILITIES
from limner.pocket.corpus import toys
from limner.pocket.garment_corpus import garments
from limner.pocket.people_corpus import people
from limner.pocket.style_corpus import styles
from limner.workflows.pretrain import Manner, prepared, trained
from tests.conftest import default_steps
from tests.helpers import MEANINGS, fast, meaning, same, state, untouched, with_w_plus

from .families import save_tiny

BASES = ("pixart", "sdxl", "sd3", "flux", "sana", "stable_diffusion")
SHORT = (
    *("pretrain", "align", "recognise", "bank", "scene", "decoder", "encode", "face", "feature", "refine", "local"),
    *("ground", "shape", "prior", "expert"),
)
QUICK: dict[str, Any] = {f"{name}_steps": 2 for name in SHORT} | {"ground_batch": 2, "scene_batch": 2, "rank": 2}
NAMES = {"names": "Tom Hanks, Meryl Streep, Paul Newman, Ada Lovelace"}
IN_TEST = {
    # words of layers, edits along a word's direction, image attention, watched words, positions of a context
    "pixart": ("p_plus", "democaricature", "ssr_encoder", "em_style_concepts", "core"),
    "sdxl": ("fastcomposer", "photomaker"),
    "sd3": ("ssr_encoder",),
    "flux": ("persam",),
}
"""What `make test` asks; the whole table is in the sweep."""
REFUSALS = {
    "pixart": {
        "hiper": "does not read hidden states as they are",
        "fastcomposer": "does not read hidden states as they are",
        "moa": "does not read hidden states as they are",
        "gal": "does not read prompts through a single CLIP",
        "freecontrol": "no self-attention in its up path",
        "instantid": "takes no residuals",
    },
    "sdxl": {"vico": "reads a global vector", "personamagic": "does not read prompts through a single CLIP"},
    "sd3": {
        "p_plus": "joint and self attention only",
        "comcat": "a layer for each",
        "core": "reads maps of cross-attention",
        "omg": "give regions (--region)",
    },
}
"""Base -> method that does not suit it -> a part of the error's message."""


class Seen:
    """A tiny base of a family with the pocket world's networks beside it, which counts runs of its denoiser."""

    def __init__(self, family: str, folder: Any) -> None:
        self.base: Any = with_w_plus(_beside(load(save_tiny(family, folder), device="cpu")))
        self.runs, predict = 0, self.base.predict

        def counted(*given: Any, **more: Any) -> Any:
            self.runs += 1
            return predict(*given, **more)

        self.base.predict = counted
        self.before = state(self.base)


def _beside(base: Any) -> Any:
    few: dict[str, Any] = {"corpus": toys(8), "people": people(8), "styles": styles(8), "garments": garments(8)}
    base.capabilities = replace(CAPABILITIES, weights=None, bench=None, full_size=True, **few)
    return base


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with default_steps(2):
        yield Seen(request.param, tmp_path_factory.mktemp("tiny") / request.param)


def subject_of(name: str, base: Any) -> Subject:
    """A toy, or a person for methods of faces, each with masks; a relation or an action for methods of meanings."""
    if name in MEANINGS:
        return meaning(name)
    face = card(methods()[name]).scope[0] == "face"
    corpus: Any = people(2) if face else toys(1)
    pixels, masks = corpus.drawn(range(2), base.picture_size)
    assert masks is not None
    shown = list(masks.float().expand(-1, 3, -1, -1) / 255)
    return Subject.of(pixels.float() / 255, noun=corpus.noun(0), handle="rex", masks=shown)


def quick(name: str) -> dict[str, Any]:
    return fast(methods()[name], **QUICK, **NAMES)


def pretrained(name: str, base: Any) -> None:
    """Two updates of each stage of pre-training, where the method's weights are not there."""
    recipe = methods()[name](Subject("<nobody>", "toy"), **quick(name))
    if not recipe.weights or weights_path(recipe.weights, base).exists():
        return
    if recipe.begins:
        pretrained(recipe.begins, base)
    if not recipe.pretraining:
        pretrained(recipe.weights.partition(".")[0], base)
        return
    about: dict[str, Any] = {"given": quick(name), "manner": Manner(precision="float32")}
    trained(prepared(name, base=base, **about, to=cached_weights_path(recipe.weights, base)))


def ran(name: str, seen: Seen) -> str:
    """Pre-train, learn and paint; the refusal's message, or nothing where all of it ran."""
    seen.runs, refused = 0, ""
    try:
        pretrained(name, seen.base)
        seen.runs = 0
        concept = limner.learn(seen.base, subject_of(name, seen.base), method=name, **quick(name))
        seen.runs = 0
        picture = limner.paint(seen.base, f"{concept.handle} on the beach", concepts=[concept], seed=1)[0]
        assert picture.image.size == (seen.base.picture_size,) * 2
    except InputError as error:
        refused = str(error)
    assert not refused or seen.runs == 0, f"{name} was refused after {seen.runs} runs of the denoiser: {refused}"
    assert same(state(seen.base), seen.before)
    assert untouched(seen.base)
    return refused


def asked() -> Callable[[Any], Any]:
    """Every method on every base; all but a few are marked as the sweep."""
    rows = []
    for family in BASES:
        known = (*IN_TEST.get(family, ()), *REFUSALS.get(family, {}))
        for name in methods():
            marks = () if name in known else (pytest.mark.sweep,)
            rows.append(pytest.param(family, name, marks=marks, id=f"{family}-{name}"))
    return pytest.mark.parametrize(("seen", "name"), rows, indirect=["seen"])


@asked()
def test_a_method_works_or_names_the_capability_that_the_base_lacks(seen: Seen, name: str) -> None:
    refused, family = ran(name, seen), seen.base.family
    if name in IN_TEST.get(family, ()):
        assert not refused
    assert REFUSALS.get(family, {}).get(name, "") in refused


@pytest.mark.parametrize("seen", ["pixart", "sana"], indirect=True)
@torch.no_grad()
def test_attention_reads_what_the_base_says_that_it_reads(seen: Seen) -> None:
    """`attended` gives the states that reach cross-attention, projected by the denoiser itself."""
    from limner.core.types import AttentionCall, Pass

    base, reads = seen.base, dict[str, torch.Tensor]()
    prompts = ["a red dog sits on the beach", "a dog"]

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            reads[call.site.name] = call.states
        return call

    states, x = base.text_states(prompts, words={}), torch.randn(2, *base.latent_shape)
    base.predict(x, torch.tensor([500, 500]), states, context=Pass(operations=(note,)))
    wanted = base.attended(states)
    assert wanted.shape[2] == base.attended_width != base.states_shape[1]
    assert reads
    for read in reads.values():
        assert torch.allclose(read, wanted[:, : read.shape[1]], atol=1e-6)
    counts = [base.num_positions(prompt, words={}) for prompt in prompts]
    assert max(counts) <= next(iter(reads.values())).shape[1]


@pytest.mark.parametrize("seen", ["pixart", "stable_diffusion"], indirect=True)
def test_a_tokens_position_does_not_depend_on_tokens_before_it(seen: Seen) -> None:
    """A token of three vectors stands before another one: the second is found where the text encoder reads it."""
    from limner.core.types import Live, Pass
    from limner.parts.modifiers.states import next_place, word_places_of

    words = {"<sty>": torch.randn(3, sum(seen.base.word_widths)), "<rex>": torch.randn(1, sum(seen.base.word_widths))}
    prompt = "a photo of <sty> <rex> on the beach"
    run = Pass(prompts=(prompt, "a dog"), lives=(Live(words={"<sty>": words["<sty>"]}), Live(words=dict(words))))
    assert word_places_of(seen.base, run, 0, "<rex>") == seen.base.word_places(prompt, "<rex>", words=words)
    assert word_places_of(seen.base, run, 1, "<rex>") == []
    begins = seen.base.towers[0].begins
    assert next_place(seen.base, "a red dog") == begins + seen.base.num_tokens("a red dog", words={})


@pytest.mark.parametrize(
    ("seen", "name", "by"),
    [
        ("pixart", "lora_dreambooth", "gradient-fusion"),
        ("sdxl", "custom_diffusion", "closed-form"),
        ("sdxl", "lora_dreambooth", "gradient-fusion"),
        ("sdxl", "cones", "neurons"),
    ],
    indirect=["seen"],
)
def test_concepts_merge_on_bases_of_other_shapes(seen: Seen, name: str, by: str) -> None:
    subject = subject_of(name, seen.base)
    both = [
        limner.learn(seen.base, replace(subject, handle=handle), method=name, **quick(name))
        for handle in ("<rex>", "<bo>")
    ]
    merged = limner.merge(seen.base, both, by=by)
    picture = limner.paint(seen.base, "<rex> and <bo> on the beach", concepts=[merged], seed=1)[0]
    assert picture.image.size == (seen.base.picture_size,) * 2
    assert same(state(seen.base), seen.before)
