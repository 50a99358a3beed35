"""Views of one subject pulled together, and different subjects apart (CustomContrast, arXiv:2409.05606)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.needs import text_features
from limner.core.recipe import Objective
from limner.parts.fusion.layered_attention import TOKENS, WHOLE

from .contrast import missed

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source

TEMPERATURE = 0.1


def appearance_contrast(source: Source) -> Objective:
    """InfoNCE of each row's tokens with those of its subject's other pictures, against other subjects.

    The mean over layers (multiscale appearance contrastive learning of arXiv:2409.05606).

    source: batches with several rows of each subject (`alike` of `pairs`)
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        tokens, shown = _read_tensor(step, TOKENS), step.batch.references  # [B, sites, d]
        assert shown is not None
        assert shown.identity is not None
        whose, itself = shown.identity.to(tokens.device), torch.eye(len(tokens), dtype=torch.bool, device=tokens.device)
        right = (whose[:, None] == whose) & ~itself
        unit = F.normalize(tokens.transpose(0, 1), dim=-1)
        with torch.autocast(tokens.device.type, enabled=False):
            logits = (unit @ unit.mT / TEMPERATURE).masked_fill(itself, float("-inf"))  # [sites, B, B]
        return torch.stack([missed(one, right) for one in logits]).mean()

    return Objective(f"appearance contrast({source.name})", source, value, across=True)


def semantic_contrast(source: Source) -> Objective:
    """InfoNCE both ways between each row's global picture token and the end-token feature of its class text.

    Rows of one class are right for each other (cross-modal semantic contrastive learning of arXiv:2409.05606).

    source: batches with references
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        whole, shown, base = _read_tensor(step, WHOLE), step.batch.references, step.adapted.base
        assert shown is not None
        classes = sorted(set(shown.nouns))
        with torch.no_grad():
            texts = base.text_features([f"a photo of a {noun}" for noun in classes], words={}).float()
        right = torch.tensor([[noun == name for name in classes] for noun in shown.nouns], device=whole.device)
        with torch.autocast(whole.device.type, enabled=False):
            logits = F.normalize(whole, dim=-1) @ F.normalize(texts, dim=-1).T / TEMPERATURE
        return 0.5 * (missed(logits, right) + missed(logits.T, right.T))

    return Objective(f"semantic contrast({source.name})", source, value, across=True, needs=(text_features,))


def _read_tensor(step: Step, name: str) -> Tensor:
    run, rows = step.prediction.run, step.prediction.rows
    assert run is not None
    return run.activations[name][rows].float()
