"""Merging: each way's own property, against a closed form or an independent solution."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

import limner
from limner.core.concept import Concept
from limner.core.recipe import Recipe
from limner.engine.attach import Adapter, attach, parameter
from limner.engine.sample import PaintSettings, sample
from limner.errors import FileError, InputError, PromptError, UnknownName, WrongBase
from limner.library.apart import taken_words
from limner.library.opening import adapter_of
from limner.parts.merging import MERGINGS, Member, computed_weight, gradient_fusion, member_of
from limner.parts.merging.changes import layer_module, stored_of
from limner.parts.merging.continual import kept_apart
from limner.parts.merging.gradient_fusion import fused, recorded
from limner.parts.merging.known_words import captions
from limner.parts.merging.orthogonal import orthogonalised
from limner.parts.modifiers import low_rank
from limner.pocket.subjects import toy
from tests.helpers import same, state, untouched

HOW = PaintSettings(steps=2)
SUBJECTS = (("rex", "dog", 2_000_020), ("bo", "car", 2_000_021), ("kit", "teapot", 2_000_022))


def taught(base: Any, which: int, method: str, **settings: Any) -> Concept:
    """A concept of a method whose tensors are drawn rather than learned, so that its changes are large."""
    name, noun, seed = SUBJECTS[which]
    quick = {"steps": 1, "batch": 1, "prior_weight": 0.0, **settings}
    concept = limner.learn(base, toy(noun, seed, name=name, count=1), method=method, **quick)
    draw = torch.Generator().manual_seed(which)
    tensors = {
        key: value + 0.1 * value.std(correction=0).clamp_min(0.02) * torch.randn(value.shape, generator=draw)
        for key, value in concept.tensors.items()
    }
    return replace(concept, tensors=tensors)


@pytest.fixture(scope="module")
def loras(base: Any) -> list[Concept]:
    return [taught(base, k, "lora_dreambooth", rank=2, layers="attention") for k in range(3)]


@pytest.fixture(scope="module")
def customs(base: Any) -> list[Concept]:
    return [taught(base, k, "custom_diffusion") for k in range(2)]


def members(base: Any, concepts: list[Concept]) -> list[Member]:
    return [member_of(adapter_of(concept, base), base) for concept in concepts]


def test_a_weight_is_read_off_every_kind_of_layer(base: Any) -> None:
    """W + B A by hand for linear layers and convolutions, of stride 1 and 2: two independent ways to one number."""
    change = low_rank(2, "everything", alpha=3.0)
    draw = torch.Generator().manual_seed(0)
    with attach(base, [Adapter(Recipe("dog", (change,)), "<a>")]) as adapted:
        stored = {name: torch.randn(t.shape, generator=draw) for name, t in adapted.live[change].tensors.items()}
    strides = set()
    kinds = {  # the last layer of each kind
        (type(module), getattr(module, "kernel_size", 0), getattr(module, "stride", 0)): layer
        for layer, module in base.projections("everything").items()
    }
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (change,)), "<a>", stored, scale=0.5)]):
        for layer in kinds.values():
            module = layer_module(base, layer)
            down, up = stored[f"low_rank.{layer}.down"], stored[f"low_rank.{layer}.up"]
            wanted = module.weight + 0.5 * 1.5 * (up.flatten(1) @ down.flatten(1)).view_as(module.weight)
            assert torch.allclose(computed_weight(module), wanted, atol=1e-4), layer
            strides.add(getattr(module, "stride", (0, 0)))
    assert strides >= {(0, 0), (1, 1), (2, 2)}


def test_average_and_weighted_sum_are_those_of_the_changes(base: Any, loras: list[Concept], tmp_path: Path) -> None:
    before = state(base)
    parts = members(base, loras[:2])
    for by, weights, shares in (
        ("average", (), (0.5, 0.5)),
        ("weighted", (0.7, -0.2), (0.7, -0.2)),
        ("weighted", (), (1, 1)),
    ):
        merged = limner.merge(base, loras[:2], by=by, weights=weights)
        with torch.no_grad(), attach(base, [adapter_of(merged, base)]):
            for name in parts[0].changes:
                found = computed_weight(layer_module(base, name.removesuffix(".weight"))) - parameter(base, name)
                wanted = torch.stack([s * part.changes[name] for s, part in zip(shares, parts, strict=True)]).sum(0)
                assert torch.allclose(found, wanted, atol=2e-5), name
    assert merged.num_bytes < 2.2 * sum(
        concept.num_bytes for concept in loras[:2]
    )  # factors of both ranks, no whole weights
    assert same(state(base), before)
    assert untouched(base)
    loaded = Concept.load(merged.save(tmp_path / "both.safetensors"))
    assert loaded.handles == ("<rex>", "<bo>")
    assert loaded.header == merged.header
    pictures = [limner.paint(base, "<rex> and <bo>", concepts=[c], settings=HOW)[0] for c in (merged, loaded)]
    assert pictures[0].image.tobytes() == pictures[1].image.tobytes()
    assert pictures[0].concepts == ("<rex>", "<bo>")
    separate = limner.paint(base, "<rex> and <bo>", concepts=loras[:2], settings=HOW)[0]
    difference = (
        torch.tensor(list(separate.image.tobytes())).int() - torch.tensor(list(pictures[0].image.tobytes())).int()
    )
    assert int(difference.abs().max()) <= 2  # worn at once, two low-rank changes are their sum


def test_the_closed_form_answers_each_word_as_its_concept_does(base: Any, customs: list[Concept]) -> None:
    """The constraint of Eq. 4 of arXiv:2212.04488, and that captions are moved less than by the sum of changes."""
    parts = members(base, customs)
    change = MERGINGS["closed-form"]()(parts, base)
    assert change.keys() == base.select("cross_attention_kv").keys()
    texts = captions(base, 50)
    with torch.no_grad():
        other = torch.cat([base.text_states([text], words={})[0] for text in texts])
        moved = [0.0, 0.0]
        for part in parts:
            handle = part.handle
            with attach(base, [part.adapter]) as adapted:
                text = f"a photo of {handle}"
                states = adapted.text_states([text])[0, list(adapted.handle_places(text, handle))]
            for name, value in change.items():
                own = states @ part.changes[name].mT
                assert torch.allclose(states @ value.mT, own, atol=2e-3 * float(own.abs().max())), name
        for name, value in change.items():
            moved[0] += float((other @ value.mT).square().sum())
            moved[1] += float((other @ torch.stack([part.changes[name] for part in parts]).sum(0).mT).square().sum())
    assert moved[0] < 0.5 * moved[1]


def test_the_closed_form_is_for_keys_and_values_alone(base: Any, loras: list[Concept]) -> None:
    with pytest.raises(InputError, match="solves for keys and values of cross-attention, and <rex> changes"):
        limner.merge(base, loras[:2], by="closed-form")


def test_fusion_is_the_least_squares_of_the_inputs() -> None:
    """Against torch's own solver on the inputs themselves, written side by side."""
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(n, 6, generator=draw).double() for n in (40, 25)]
    changes = [torch.randn(5, 6, generator=draw).double() for _ in inputs]
    wanted = torch.linalg.lstsq(
        torch.cat(inputs), torch.cat([x @ c.mT for x, c in zip(inputs, changes, strict=True)])
    ).solution.mT
    found = fused(changes, [x.mT @ x for x in inputs], 0.0)
    assert torch.allclose(found, wanted, atol=1e-8)
    average = (changes[0] + changes[1]) / 2
    assert torch.allclose(fused(changes, [0 * x.mT @ x + 1e-9 * torch.eye(6) for x in inputs], 1e9), average, atol=1e-6)


def test_fused_layers_answer_each_concept_better_than_an_average(base: Any, loras: list[Concept]) -> None:
    """On what concepts send through them while they paint from other seeds."""
    parts = members(base, loras[:2])
    fusion = MERGINGS["gradient-fusion"](beside=0, pictures=2, steps=4)(parts, base)
    average = MERGINGS["average"]()(parts, base)
    layers = [name for name in fusion if name.endswith(("to_k.weight", "to_v.weight"))]
    missed = {"fusion": 0.0, "average": 0.0}
    for part in parts:
        with torch.no_grad(), attach(base, [part.adapter]) as adapted, recorded(base, layers) as moments:
            for _ in sample(adapted, [f"a photo of {part.handle}"], seeds=[77], settings=PaintSettings(steps=4)):
                pass
        for name in layers:
            for way, change in (("fusion", fusion), ("average", average)):
                error = (change[name] - part.changes[name]).double()
                missed[way] += float((error @ moments[name] * error).sum())
    assert missed["fusion"] < 0.8 * missed["average"]


def shutting(base: Any, which: int, share: float) -> Concept:
    """A concept that shuts keys and values: some weights are exactly 0."""
    name, noun, seed = SUBJECTS[which]
    draw = torch.Generator().manual_seed(which)
    values = {
        key: torch.where(torch.rand(w.shape, generator=draw) < share, torch.zeros_like(w), w.detach())
        for key, w in base.select("cross_attention_kv").items()
    }
    concept = limner.learn(
        base, toy(noun, seed, name=name, count=1), method="dreambooth", steps=1, batch=1, prior_weight=0.0
    )
    return replace(concept, tensors=values)


def test_the_union_of_neurons_is_the_product_of_masks(base: Any) -> None:
    pair = [shutting(base, k, share) for k, share in ((0, 0.1), (1, 0.2))]
    first, second = limner.merge(base, pair, by="neurons"), limner.merge(base, pair[::-1], by="neurons")
    assert same(first.tensors, second.tensors)
    for name, value in first.tensors.items():
        now = parameter(base, name).detach()
        shut = (pair[0].tensors[name] == 0) | (pair[1].tensors[name] == 0)
        assert torch.equal(value, torch.where(shut, 0.0, now))


def test_only_what_shuts_weights_has_neurons(base: Any, customs: list[Concept]) -> None:
    with pytest.raises(InputError, match="<rex> changes .* in other ways than by shutting"):
        limner.merge(base, customs, by="neurons")


def test_orthogonal_changes_do_not_answer_to_each_other() -> None:
    draw = torch.Generator().manual_seed(0)
    changes = [torch.randn(7, r, generator=draw) @ torch.randn(r, 9, generator=draw) for r in (2, 3)]
    assert float((changes[0] @ changes[1].mT).abs().max()) > 1
    first, second = orthogonalised(changes)
    assert float((first @ second.mT).abs().max()) < 1e-5
    assert [int(torch.linalg.matrix_rank(x, rtol=1e-4)) for x in (first, second)] == [2, 3]
    again = orthogonalised([first, second])  # what is orthogonal is left as it is
    assert torch.allclose(again[0], first, atol=1e-5)
    with pytest.raises(InputError, match="ranks that sum to 14, and it has 9 inputs"):
        orthogonalised([torch.randn(7, 9, generator=draw) for _ in range(2)])


def test_what_comes_later_leaves_what_was_changed_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    former, change = torch.randn(8, 8, generator=draw), torch.randn(8, 8, generator=draw)
    assert torch.equal(kept_apart(change, former, 0.0), change)
    found, mean = kept_apart(change, former, 10.0), former.square().mean()

    def penalty(d: Tensor) -> Tensor:
        return (d - change).square().sum() + 10 / mean * (former * d).square().sum()

    for _ in range(5):  # nothing near it has a lower penalty
        assert penalty(found) <= penalty(found + 0.05 * torch.randn(8, 8, generator=draw))
    where = former.abs() > former.abs().median()
    assert float(found[where].abs().mean()) < 0.3 * float(found[~where].abs().mean())


def test_low_rank_changes_are_merged_orthogonally(base: Any, loras: list[Concept], customs: list[Concept]) -> None:
    merged = limner.merge(base, loras, by="orthogonal")
    ranks = {len(t) for name, t in merged.tensors.items() if name.endswith(".down")}
    assert ranks == {6}  # three of rank 2, none within another
    with pytest.raises(InputError, match="have ranks that sum to 194, and it has 192 inputs"):
        limner.merge(base, [loras[0], customs[1]], by="orthogonal")


@pytest.mark.parametrize("by", sorted({*MERGINGS} - {"neurons", "closed-form", "orthogonal"}))
def test_every_way_merges_two_methods(
    base: Any, loras: list[Concept], customs: list[Concept], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A low-rank change and a word with new keys and values: both handles are painted, and the base comes back."""
    before = state(base)
    monkeypatch.setitem(MERGINGS, "gradient-fusion", partial(gradient_fusion, beside=1, steps=2))
    merged = limner.merge(base, [loras[0], customs[1]], by=by)
    assert merged.handles == ("<rex>", "<bo>")
    assert [name for name in merged.tensors if name.startswith("word.")] == ["word.<bo>"]
    for prompt in ("<rex> on the beach", "<bo> on the beach", "<rex> and <bo>"):
        with_it, off = (limner.paint(base, prompt, concepts=[merged], scale=s, settings=HOW)[0] for s in (1, 0))
        assert with_it.image.tobytes() != off.image.tobytes()
    assert same(state(base), before)
    assert untouched(base)


def test_a_merged_concept_has_regions_and_is_merged_again(
    base: Any, loras: list[Concept], customs: list[Concept]
) -> None:
    both = limner.merge(base, [loras[0], customs[1]])
    regions = {"rex": "left", "bo": "right"}
    found = [limner.paint(base, "<rex> and <bo>", concepts=[both], settings=HOW, regions=r)[0] for r in (regions, None)]
    assert found[0].image.tobytes() != found[1].image.tobytes()
    three = limner.merge(base, [both, loras[2]], by="weighted")
    assert three.handles == ("<rex>", "<bo>", "<kit>")
    limner.paint(base, "<rex>, <bo> and <kit>", concepts=[three], settings=HOW)
    with pytest.raises(PromptError, match="two concepts answer to one handle"):
        limner.paint(base, "<rex>", concepts=[both, loras[0]], settings=HOW)


def test_concepts_that_cannot_be_merged(base: Any, loras: list[Concept]) -> None:
    first, second = loras[:2]
    for concepts, error, said in (
        ([first], InputError, "needs two concepts or more, not 1"),
        ([first, first], InputError, "two of these concepts answer to <rex>"),
        (
            [first, replace(second, base={**second.base, "fingerprint": "other"})],
            WrongBase,
            "<bo> was learned on pocket",
        ),
    ):
        with pytest.raises(error, match=said):
            limner.merge(base, concepts)
    twin = next(f"<x{k}>" for k in range(200) if _says(base, replace(first, handle=f"<x{k}>")) == _says(base, first))
    with pytest.raises(InputError, match="were both trained as"):
        limner.merge(base, [first, _called(first, twin)])
    with pytest.raises(UnknownName, match="did you mean 'average'"):
        limner.merge(base, [first, second], by="averag")
    with pytest.raises(InputError, match="weights are for merging by 'weighted'"):
        limner.merge(base, [first, second], weights=(1, 2))
    with pytest.raises(InputError, match="one weight for each of 2 concepts"):
        limner.merge(base, [first, second], by="weighted", weights=(1,))
    shared = limner.learn(base, toy("car", 2_000_021, name="bo", count=1), method="ip_adapter")
    with pytest.raises(InputError, match="<bo> (stands on the pre-trained weights|acts while painting)"):
        limner.merge(base, [first, shared])
    prefix = limner.learn(base, toy("car", 2_000_021, name="bo", count=1), method="catversion", steps=1, batch=1)
    with pytest.raises(InputError, match="<bo> holds .*, which is neither a change of a weight nor of a word"):
        limner.merge(base, [first, prefix])


def _called(concept: Concept, handle: str) -> Concept:
    return replace(concept, handle=handle, subject={**concept.subject, "handle": handle})


def _says(base: Any, concept: Concept) -> Any:
    from limner.library.opening import recipe_of

    says = recipe_of(_called(concept, concept.handle)).says
    return says if isinstance(says, str) else says(base)


def test_the_words_of_a_merged_concept_are_taken(base: Any, loras: list[Concept], tmp_path: Path) -> None:
    limner.merge(base, loras[:2]).save(tmp_path / "both.safetensors")
    wanted = {_says(base, concept): concept.handle for concept in loras[:2]}
    assert taken_words(base, tmp_path) == wanted


def test_files_from_before_open_and_bad_members_do_not(base: Any, loras: list[Concept], tmp_path: Path) -> None:
    assert "members" not in loras[0].header  # a file as every older limner reads it
    path = limner.merge(base, loras[:2]).save(tmp_path / "both.safetensors")
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["limner"])
    good = header["members"]
    for members, said in (
        (3, "must be a list of tables"),
        ([], "members .* belong to a merged concept"),
        (good[::-1], "the first to <rex>"),
        ([good[0], good[0]], "different handles"),
        ([good[0], {**good[1], "more": 1}], "a field that limner does not write"),
        ([good[0], {**good[1], "keeps": [-1]}], "each of keeps"),
        ([good[0], {**good[1], "method": "merged"}], "must not be merged themselves"),
        ([good[0], {**good[1], "seed": "x"}], "seed of member 1"),
    ):
        _write(path, {**header, "format": 1, "members": members})
        with pytest.raises(FileError, match=said):
            Concept.load(path)
    _write(path, {**header, "format": 1, "members": [good[0], {**good[1], "keeps": [7]}]})
    with pytest.raises(FileError, match="keeps a part of <bo>"):
        limner.paint(base, "<rex>", concepts=[path], settings=HOW)


def _write(path: Path, header: Any) -> None:
    tensors: dict[str, Tensor] = load_file(path)
    save_file(tensors, path, metadata={"limner": json.dumps(header)})


def test_a_change_is_stored_small_and_exactly(base: Any) -> None:
    """As two factors where it has a low rank, as values where it has not, or where it leaves most weights to the
    bit."""
    name = next(iter(base.select("cross_attention_kv")))
    weight = parameter(base, name).detach()
    draw = torch.Generator().manual_seed(0)
    thin = torch.randn(len(weight), 1, generator=draw) @ torch.randn(1, weight.shape[1], generator=draw)
    whole, sparse = torch.randn(weight.shape, generator=draw), torch.zeros_like(weight)
    sparse[0, 0] = -weight[0, 0]
    layer = name.removesuffix(".weight")
    found = stored_of(base, {name: thin})
    assert {key: tuple(t.shape) for key, t in found.items()} == {
        f"low_rank.{layer}.down": (1, weight.shape[1]),
        f"low_rank.{layer}.up": (len(weight), 1),
    }
    for change in (whole, sparse):
        assert torch.equal(stored_of(base, {name: change})[name], weight + change)
