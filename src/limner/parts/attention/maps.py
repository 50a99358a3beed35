"""Attention maps kept with the run that produced them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.types import Prediction
from limner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from limner.core.adapted import Moment
    from limner.core.types import AttentionCall, AttentionOp


KEPT = "maps, "
"""Prefix of the names under which a run has its maps, before the name of the layer."""


def keep_maps(*, kind: str = "cross") -> AttentionOp:
    """Keep the maps of every site of a kind, the mean over heads: [rows, N, M].

    kind: "cross" or "self"
    """

    def operation(call: AttentionCall) -> AttentionCall:
        if call.site.kind == kind:

            def keep(maps: Tensor) -> Tensor:
                call.run.activations[f"{KEPT}{call.site.name}"] = maps.mean(1)
                return maps

            call.on_maps.append(keep)
        return call

    return operation


def kept_maps(prediction: Prediction, *, most: int = 256) -> Tensor:
    """[rows, N, M]: attention maps of a run with `keep_maps`, the mean over the finest sites.

    prediction: the result of that run
    most: largest number of positions N of a site to count as the finest
    """
    import torch

    assert prediction.run is not None
    maps = [m for name, m in prediction.run.activations.items() if name.startswith(KEPT) and m.shape[1] <= most]
    if not maps:
        raise InputError(
            f"this base has no cross-attention layer of at most {most} positions, whose maps this method needs: "
            "use a base with cross-attention, not joint attention of text and picture"
        )
    fine = max(m.shape[1] for m in maps)
    return torch.stack([m for m in maps if m.shape[1] == fine]).mean(0)[prediction.rows]


def word_maps(moment: Moment, latents: Tensor, rows: Sequence[int], word: str) -> Tensor:
    """[rows, N]: attention of the latents to a token, in a run of its own.

    moment: the sampling step
    latents: [rows, C, h, w]
    rows: their rows in the moment
    word: the token as the moment's prompts write it
    """
    import torch

    base, words = moment.adapted.base, moment.adapted.words
    prompts, time = tuple(moment.prompts[row] for row in rows), moment.time.expand(len(rows))
    conditions = {name: condition[list(rows)] for name, condition in moment.conditions.items()}
    run = moment.adapted.run(time=time, latents=latents, prompts=prompts, conditions=conditions)
    run.operations += (keep_maps(),)
    maps = kept_maps(Prediction(base.predict(latents, time, moment.states[list(rows)], context=run), run))
    places = [base.word_places(text, word, words=words)[0] for text in prompts]
    return torch.stack([maps[k, :, place] for k, place in enumerate(places)])
