"""A few plain scores on the pocket base: is it the toy, and is it what the prompt asks?

The judges that give them were trained on the pocket world and never shown to the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.picture import Picture
    from limner.pocket.world.grammar import Prompt
    from limner.subject import Subject

MEANINGS = {
    "identity": "cosine of the identity network's vectors of painted pictures and references, mean over pairs",
    "dino": "the same by the self-supervised ViT",
    "clip_t": "cosine of CLIP's embeddings of a picture and its prompt, the handle said as the class noun",
    "obeyed": "share of pictures on which the judge reads the scene, and exactly the accessories, that the prompt asks",
    "class": "share of pictures on which the judge reads the class",
}


def scores(
    pictures: Sequence[Picture], *, subject: Subject, prompts: Sequence[Prompt] = (), size: int = 64
) -> dict[str, float]:
    """The scores of `MEANINGS` of some pictures of one subject. `obeyed` needs the prompts' truth and is left out without."""
    from limner.pocket import judges

    painted, references = tensor([p.image for p in pictures], size), subject.tensor(size)
    said = [p.prompt.replace(subject.handle, f"a {subject.noun}") for p in pictures]
    seen = judges.read(painted)
    found = {
        "identity": _likeness(judges.identities(painted), judges.identities(references)),
        "dino": _likeness(judges.appearances(painted), judges.appearances(references)),
        "clip_t": float(judges.text_similarity(painted, said).mean()),
        "class": sum(row["class"] == subject.noun for row in seen) / len(seen),
    }
    truth = {prompt.text.format(subject.handle): prompt for prompt in prompts}
    asked = [(row, truth[p.prompt]) for row, p in zip(seen, pictures, strict=True) if p.prompt in truth]
    if asked:
        found["obeyed"] = sum(obeyed(row, prompt) for row, prompt in asked) / len(asked)
    return {name: round(value, 4) for name, value in found.items()}


def obeyed(row: Mapping[str, str], prompt: Prompt) -> bool:
    """Whether what the judge read is the scene and the accessories of the prompt."""
    from limner.pocket.world.vocabulary import CORE

    wanted = {name for name, _ in prompt.accessories}
    return row["scene"] == prompt.scene and all((row[name] == "yes") == (name in wanted) for name in CORE.accessories)


def tensor(images: Sequence[Image.Image], size: int) -> Tensor:
    """Pictures -> [B, 3, size, size] in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    small = [np.array(i.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)) for i in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def _likeness(painted: Tensor, references: Tensor) -> float:
    return float((painted @ references.T).mean())
