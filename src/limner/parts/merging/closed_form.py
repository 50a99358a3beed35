"""Keys and values of cross-attention that give every concept's words the output of that concept (Custom Diffusion)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.engine.attach import attach, parameter
from limner.errors import InputError

from .changes import Member, Merging
from .known_words import captions

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

PROMPTS = ("a photo of {}",)
"""Prompts in which the words of every concept are encoded."""


def closed_form(*, prompts: Sequence[str] = PROMPTS, num_captions: int = 200, damping: float = 1e-4) -> Merging:
    """The keys and values nearest to the base's over captions that map every concept's words as that concept does.

    The solution is W = W0 + v^T d, with d = C (C_reg^T C_reg)^-1 and v^T = (V - W0 C^T) (d C^T)^-1 (Eq. 4 and 5 of
    arXiv:2212.04488). C [s, D] are the text-encoder hidden states of the words of all concepts, V [s, out] the outputs
    of each concept's own weight for them, and C_reg the states of captions. The authors' captions are of a photo
    collection; here words of the base's vocabulary fill templates. Raises `InputError` for concepts that change other
    weights.

    prompts: prompts in which the words are encoded, with {} for the handle
    num_captions: number of captions over which the base stays the same
    damping: addition to the diagonal of C_reg^T C_reg, as a share of its mean, so that it has an inverse
    """

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        import torch

        layers = _keys_and_values(members, base)
        words = [_states(member, base, prompts) for member in members]
        inverse = _inverse_moment(base, num_captions, damping)
        states = torch.cat(words)  # [s, D]
        direction = states @ inverse  # d [s, D]
        solved = torch.linalg.pinv(direction @ states.mT, hermitian=True)  # (d C^T)^-1 [s, s]
        merged_changes = {}
        for name in layers:
            wanted = [
                own @ member.changes[name].double().cpu().mT
                if name in member.changes
                else own.new_zeros(len(own), _out(base, name))
                for member, own in zip(members, words, strict=True)
            ]
            change = torch.cat(wanted).mT @ solved @ direction  # (V - W0 C^T) (d C^T)^-1 d
            merged_changes[name] = change.to(parameter(base, name))
        return merged_changes

    return merging


def _out(base: Base, name: str) -> int:
    return len(parameter(base, name))


def _keys_and_values(members: Sequence[Member], base: Base) -> list[str]:
    """Parameters that some member changes. Raises `InputError` for any other than keys and values of
    cross-attention."""
    known = base.select("cross_attention_kv")
    for member in members:
        other = [name for name in member.changes if name not in known or not name.endswith(".weight")]
        if other:
            raise InputError(
                f"the closed form solves for keys and values of cross-attention, and {member.handle} changes {other[0]} as well; merge by "
                "'gradient-fusion' or 'average'"
            )
    return sorted({name for member in members for name in member.changes})


def _states(member: Member, base: Base, prompts: Sequence[str]) -> Tensor:
    """[s, C] in double precision: the states that cross-attention reads of a concept's words, each once."""
    import torch

    word_states = []
    with torch.no_grad(), attach(base, [member.adapter]) as adapted:
        for answer in member.adapter.answers:
            for prompt in prompts:
                text = prompt.format(answer.handle)
                states = base.attended(adapted.text_states([text]))[0].double().cpu()
                word_states.append(states[list(adapted.handle_places(text, answer.handle))])
    return torch.cat(word_states)


def _inverse_moment(base: Base, count: int, damping: float) -> Tensor:
    """[C, C] in double precision: (C_reg^T C_reg)^-1 over the states that cross-attention reads of captions."""
    import torch

    with torch.no_grad():
        parts = []
        for text in captions(base, count):
            read = base.attended(base.text_states([text], words={}))[0].double().cpu()
            # behind a mask or a cut, attention reads the positions that hold text alone
            parts.append(read if base.reads_states_unchanged else read[: base.num_positions(text, words={})])
    states = torch.cat(parts)
    moment = states.mT @ states
    return torch.linalg.inv(moment + damping * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype))
