"""Styles beside subjects, and the prompts that name both."""

from __future__ import annotations

from typing import Any

import pytest

import limner
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.workflows.preview_prompts import preview_prompts
from tests.helpers import learn_fast, style

STYLED = ("style_friendly_snr", "styledrop", "finestyle")


@pytest.fixture(scope="module")
def sty() -> Subject:
    return style()


@pytest.mark.parametrize("name", STYLED)
def test_prompts_of_a_style_read_well(base: Any, sty: Subject, name: str) -> None:
    recipe = methods()[name](sty)
    read = {"a dog in <sty>": "a dog in watercolour style", "a dog in the style of <sty>": "a dog in watercolour style"}
    for prompt, expected in read.items():
        assert recipe.expand(prompt, "<sty>", base) == expected
        with attach(base, [Adapter(recipe, "<sty>")]) as adapted:
            assert adapted.expand_prompt(prompt) == expected
            places = adapted.handle_places(prompt, "<sty>")
        alone = len(base.word_vectors("a dog in"))
        # the hidden states begin with the start token
        assert places == tuple(1 + alone + k for k in range(len(base.word_vectors("watercolour style"))))


def test_other_words_than_a_style_stay_a_style_of(base: Any, sty: Subject) -> None:
    recipe = methods()["style_friendly_snr"](Subject("<map>", "an old map", kind="style"))
    assert recipe.expand("a dog in the style of <map>", "<map>", base) == "a dog in the style of an old map"


@pytest.mark.parametrize(
    "name", [STYLED[0], *(pytest.param(name, marks=pytest.mark.sweep) for name in STYLED[1:])], ids=list(STYLED)
)
def test_a_style_acts_beside_a_subject_of_another_method(base: Any, rex: Subject, sty: Subject, name: str) -> None:
    """Each of the two changes the picture, also where the subject has a region, outside of which the style acts."""
    concepts = [learn_fast(base, "lora_dreambooth", rex), learn_fast(base, name, sty, steps=6)]
    prompt, how = "<rex> in the style of <sty>", limner.PaintSettings(steps=3)
    assert adapter_of(concepts[1], base).everywhere
    for regions in ({}, {"<rex>": "left"}):
        about: dict[str, Any] = {"concepts": concepts, "seed": 3, "settings": how, "regions": regions}
        shown = [
            limner.paint(base, prompt, scale=scale, **about)[0].image.tobytes() for scale in ((1, 1), (0, 1), (1, 0))
        ]
        assert len(set(shown)) == 3


def test_previews_of_a_style_show_things_in_it(rex: Subject, sty: Subject) -> None:
    assert preview_prompts(sty)[0] == "a dog in <sty>"
    assert preview_prompts(rex)[0] == "a photo of <rex>"
