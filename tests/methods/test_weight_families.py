"""The distinct property of each family of weight changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import limner
from limner.core.recipe import Recipe
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.errors import InputError
from limner.methods import methods
from limner.parts.modifiers import changed_weights, hadamard, kronecker, orthogonal, spectral
from tests.helpers import fast, same, state

QUICK = limner.PaintSettings(steps=3)


def started(kind: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """A weight, its parameters moved away from their start, and the change they make."""
    weight = torch.randn(shape, generator=stream(0, "weight"))
    start, change = kind(weight, stream(0, "start"))
    assert not change(start).any() or change(start).abs().max() < 1e-5
    moved = {k: v + 0.1 * torch.randn(v.shape, generator=stream(1, k)) for k, v in start.items()}
    return weight, moved, change


@pytest.mark.parametrize("shape", [(24, 36), (16, 8, 3, 3)])
def test_a_hadamard_product_has_more_rank_than_a_low_rank_change_of_as_many_numbers(shape: tuple[int, ...]) -> None:
    weight, moved, change = started(hadamard(2), shape)
    found = change(moved).flatten(1)
    rank = int(torch.linalg.matrix_rank(found))
    assert 2 < rank <= 4
    assert sum(t.numel() for t in moved.values()) == 2 * 2 * sum(found.shape)
    assert change(moved).shape == weight.shape


@pytest.mark.parametrize("shape", [(24, 36), (16, 8, 3, 3)])
def test_a_kronecker_product_rearranged_has_rank_one(shape: tuple[int, ...]) -> None:
    _, moved, change = started(kronecker(4), shape)
    (a, b), (c, d) = moved["c"].shape, moved["d"].shape[:2]
    found = change(moved).reshape(a, c, b, d, -1).permute(0, 2, 1, 3, 4).reshape(a * b, -1)
    assert torch.linalg.matrix_rank(found) == 1
    assert torch.linalg.matrix_rank(change(moved).flatten(1)) > 4


def test_kronecker_factors_divide_every_width() -> None:
    for out, wide in ((30, 7), (192, 320), (5, 5)):
        start, change = kronecker(-1)(torch.zeros(out, wide), stream(0))
        assert change(start).shape == (out, wide)


@pytest.mark.parametrize("radius", [0.0, 0.002])
def test_a_rotation_keeps_lengths_and_angles_of_rows(radius: float) -> None:
    weight, moved, change = started(orthogonal(4, radius=radius), (20, 32))
    turned = weight + change(moved)
    assert torch.allclose(turned @ turned.T, weight @ weight.T, atol=1e-4)
    assert (turned - weight).norm() > 0.01
    if radius:
        assert (turned - weight).norm() < 2 * radius * 8 * 8 / 4**0.5 * weight.norm()


def test_cofts_limit_is_the_authors_at_the_width_of_a_full_size_base() -> None:
    """`project_batch` of Zeju1997/oft: 6e-5 times 80 * 80 entries, over the root of 4 blocks, is 0.192 at width 320."""
    weight, start = torch.randn(24, 320, generator=stream(0, "weight")), torch.zeros(4, 80, 80)
    free = start + torch.randn(start.shape, generator=stream(0, "free"))
    _, change = orthogonal(4, radius=6e-5)(weight, stream(0))
    limited = torch.stack([0.192 * block / block.norm() for block in free])
    turns = []
    for block in limited:
        skew, one = (block - block.T) / 2, torch.eye(80)
        turns.append((one - skew) @ torch.linalg.inv(one + skew))
    turned = weight @ torch.block_diag(*turns).T
    assert torch.allclose(weight + change({"turn": free}), turned, atol=1e-4)
    assert (turned - weight).norm() > 1e-2 * weight.norm()  # a limit of 6e-5 in all changed nothing: 9e-6


def test_blocks_that_do_not_divide_a_width_are_refused() -> None:
    with pytest.raises(InputError, match="divide"):
        orthogonal(7)(torch.zeros(4, 32), stream(0))


def test_spectral_shifts_keep_singular_vectors_and_stay_above_zero() -> None:
    weight, _, change = started(spectral(), (16, 8, 3, 3))
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    delta = torch.linspace(-100, 3, len(values))
    inside = left.T @ (weight + change({"delta": delta})).flatten(1) @ right.T
    assert torch.allclose(inside, torch.diag(torch.relu(values + delta)), atol=1e-4)


def test_svdiff_learns_one_number_for_every_singular_value(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="svdiff", **fast(methods()["svdiff"]))
    layers = base.projections("everything")
    wanted = sum(min(layer.weight.shape[0], layer.weight[0].numel()) for layer in layers.values())
    assert sum(t.numel() for t in concept.tensors.values()) == wanted


def test_locon_reaches_convolutions_only_when_asked(base: Any, rex: Subject) -> None:
    function = methods()["lycoris_locon"]
    kernels = {}
    for layers in ("attention", "everything"):
        concept = limner.learn(base, rex, method="lycoris_locon", layers=layers, **fast(function, rank=2))
        kernels[layers] = [t for name, t in concept.tensors.items() if name.endswith(".down") and t.ndim == 4]
        for name, up in concept.tensors.items():
            if name.endswith(".up"):
                change = up.flatten(1) @ concept.tensors[f"{name[:-3]}.down"].flatten(1)
                assert torch.linalg.matrix_rank(change) <= 2
    assert not kernels["attention"]
    assert kernels["everything"]


@pytest.mark.parametrize("kind", [hadamard(2), kronecker(), orthogonal(4), spectral()])
def test_while_worn_no_parameter_of_the_base_is_written_or_renamed(base: Any, rex: Subject, kind: Any) -> None:
    before = state(base)
    change = changed_weights(kind)

    with torch.no_grad(), attach(base, [Adapter(Recipe(says="dog", modifiers=(change,)), rex.handle)]) as adapted:
        for tensor in adapted.tensors.values():
            tensor += 0.05 * torch.randn(tensor.shape, generator=stream(2))
        x, t = torch.randn(1, *base.latent_shape), torch.tensor([500])
        dressed = base.predict(x, t, adapted.text_states(["a dog"]), context=adapted.run(time=t))
        assert same(state(base), before)
        with adapted.suspended():
            plain = base.predict(x, t, adapted.text_states(["a dog"]), context=adapted.run(time=t))
    with torch.no_grad(), attach(base, []) as bare:
        assert torch.equal(plain, base.predict(x, t, bare.text_states(["a dog"]), context=bare.run(time=t)))
    assert not torch.equal(dressed, plain)
    assert not [m for m in base.module("denoiser").modules() if "weight" in m.__dict__]


def changes_of(base: Any, name: str, rex: Subject, **settings: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Linear layer -> its weight, and the one it has under the method's recipe with tensors moved from their start;
    read off outputs."""
    recipe = methods()[name](rex, **settings)
    layers = {key: layer for key, layer in base.projections("everything").items() if isinstance(layer, torch.nn.Linear)}

    def weight(layer: torch.nn.Linear) -> torch.Tensor:
        rows = layer(torch.eye(layer.in_features)) - (0 if layer.bias is None else layer.bias)
        return rows.T.clone()

    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        for key, tensor in adapted.tensors.items():
            tensor += 0.3 * torch.randn(tensor.shape, generator=stream(3, key))
        worn = {key: weight(layer) for key, layer in layers.items()}
    with torch.no_grad():
        return {key: (weight(layer), worn[key]) for key, layer in layers.items()}


def test_oft_turns_the_weights_of_attention_and_nothing_else(base: Any, rex: Subject) -> None:
    """Lengths of the rows and angles between them stay (Eq. 2 of arXiv:2306.07280)."""
    found, turned = changes_of(base, "oft", rex), set(base.projections("attention"))
    for key, (before, after) in found.items():
        assert torch.allclose(after @ after.T, before @ before.T, atol=1e-3), key
        assert ((after - before).norm() > 0.1 * before.norm()) == (key in turned), key


def test_oft_s_radius_limits_the_turn(base: Any, rex: Subject) -> None:
    """COFT, asked of the recipe: weights are still only turned, and less."""
    free, limited = changes_of(base, "oft", rex), changes_of(base, "oft", rex, radius=1e-4)
    for key in base.projections("attention"):
        if key in free:
            before, after = limited[key]
            assert torch.allclose(after @ after.T, before @ before.T, atol=1e-3), key
            assert 0 < (after - before).norm() < 0.5 * (free[key][1] - before).norm(), key


@pytest.mark.parametrize("name", ["lycoris_locon", "lycoris_loha"])
def test_alpha_over_rank_scales_the_change(base: Any, rex: Subject, name: str) -> None:
    one, other = (changes_of(base, name, rex, rank=2, alpha=alpha) for alpha in (1.0, 3.0))
    for key, (before, after) in one.items():
        change = other[key][1] - before
        assert torch.allclose(change, 3 * (after - before), atol=1e-4 * float(change.abs().max()) + 1e-6), key


def test_loha_changes_every_layer_by_more_rank_than_its_factors_have(base: Any, rex: Subject) -> None:
    for key, (before, after) in changes_of(base, "lycoris_loha", rex, rank=2).items():
        values = torch.linalg.svdvals((after - before).double())
        assert int((values > 1e-4 * values[0]).sum()) in (3, 4), key  # the product of two matrices of rank 2


def test_lokr_changes_every_layer_by_one_kronecker_product(base: Any, rex: Subject) -> None:
    """The change's blocks are multiples of one matrix, and its own rank is high."""
    for key, (before, after) in changes_of(base, "lycoris_lokr", rex, factor=4).items():
        change = (after - before).double()
        rows, columns = change.shape
        assert rows % 4 == columns % 4 == 0, key
        blocks = change.view(4, rows // 4, 4, columns // 4).permute(0, 2, 1, 3).reshape(16, -1)
        values, own = torch.linalg.svdvals(blocks), torch.linalg.svdvals(change)
        assert values[1] < 1e-4 * values[0], key
        assert int((own > 1e-4 * own[0]).sum()) > 4, key
