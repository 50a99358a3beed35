"""CusConcept: attribute and object are mixtures of known words, and transfer apart from each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import limner
from limner.core.subject import Subject
from limner.core.word_classes import ADJECTIVES, word_class
from limner.engine.attach import Adapter, attach
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.modifiers import mixed_word, mixture, word_weights
from limner.parts.modifiers.parameters import under
from limner.parts.modifiers.words import one_token_vectors
from tests.helpers import QUICK, fast


def test_after_the_first_stage_both_lie_in_the_positive_cone_of_their_words(base: Any, rex: Subject) -> None:
    function = methods()["cusconcept"]
    concept = limner.learn(base, rex, method="cusconcept", **fast(function, word_steps=6, steps=1))
    look, thing = (under(f"word.<rex-{name}>.", concept.tensors) for name in ("look", "object"))
    known = one_token_vectors(base, [word for kind in ADJECTIVES.values() for word in kind])
    assert torch.equal(look["words"], torch.cat(list(known.values())))
    for own, largest in ((look, 10), (thing, 0)):
        weights = word_weights(own)
        assert float(weights.min()) > 0
        assert float(weights.max()) < 1
        kept = weights.topk(largest).indices if largest else torch.arange(len(weights))
        sum_of_words = weights[kept] @ own["words"][kept]
        direction = mixture(own, largest=largest)[0]
        assert torch.allclose(direction, sum_of_words / sum_of_words.norm(), atol=1e-5)


def test_a_token_is_the_mean_of_mixture_and_free_vector_in_the_vocabulary_s_mean_length(
    base: Any, rex: Subject
) -> None:
    function = methods()["cusconcept"]
    concept = limner.learn(base, rex, method="cusconcept", **fast(function))
    own = under("word.<rex-object>.", concept.tensors)
    mean = mixture(own) * base.word_table().norm(dim=-1).mean()
    with attach(base, [adapter_of(concept, base)]) as adapted:
        vector = adapted.words["<rex-object>"].detach()
    free = mean + own["offset"]
    assert float(own["offset"].norm()) > 0
    assert torch.allclose(vector, (free + mean) / 2, atol=1e-5)


def test_the_first_stage_leaves_the_offsets_at_zero(base: Any, rex: Subject) -> None:
    recipe = methods()["cusconcept"](rex)
    first, second = recipe.stages
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        names = [{name for part in stage.train for name in part(adapted)} for stage in (first, second)]
    assert names[1] - names[0] == {"word.<rex-look>.offset", "word.<rex-object>.offset"}


def test_the_object_is_mixed_of_the_nouns_nearest_to_the_pictures(base: Any, rex: Subject) -> None:
    thing = methods()["cusconcept"](rex, object_words=8).modifiers[1]
    assert isinstance(thing, mixed_word)
    chosen = list(thing.choose(base))
    assert len(chosen) == 8
    assert "dog" in chosen
    assert all(word_class(word) == "noun" for word in chosen)
    assert not {"car", "boat", "truck"} & set(chosen)


def test_attribute_and_object_are_used_apart(base: Any, rex: Subject) -> None:
    """Each word changes a picture of something else in its own way, and both together are the handle."""
    concept = limner.learn(base, rex, method="cusconcept", **fast(methods()["cusconcept"]))

    def painted(prompt: str) -> bytes:
        return limner.paint(base, prompt, concepts=[concept], seed=1, settings=QUICK)[0].image.tobytes()

    assert painted("a photo of a <rex>") == painted("a photo of a <rex-look> <rex-object>")
    assert len({painted(f"a photo of a {who} car") for who in ("<rex-look>", "<rex-object>", "<rex>", "red")}) == 4


def test_words_for_the_attribute_are_checked(base: Any, rex: Subject) -> None:
    function = methods()["cusconcept"]
    with pytest.raises(InputError, match="the axis must be one of colour, pattern"):
        function(rex, axis="taste")
    with pytest.raises(InputError, match="give one of them"):
        function(rex, axis="colour", attributes="red")
    with pytest.raises(InputError, match="knows none of these words as one token: sweet, sour"):
        limner.learn(base, rex, method="cusconcept", attributes="sweet, sour", steps=1, word_steps=1)
