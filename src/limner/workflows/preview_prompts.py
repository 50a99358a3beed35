"""Prompts of previews and samples, by the kind of the subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.subject import Subject


def preview_prompts(subject: Subject) -> list[str]:
    """Prompts of the previews after training. A relation, an action or a style is shown on things that its pictures
    need not show."""
    return [template.format(subject.handle) for template in PREVIEWS.get(subject.kind, PREVIEWS["object"])]


PREVIEWS = {
    "object": ("a photo of {}", "{} on the beach", "{} in the snow"),
    "style": ("a dog in {}", "a car in {}", "a house in the snow in {}"),
    "relation": ("a photo of a cat {} a car", "a photo of a car {} a cat", "a photo of a robot {} a dog"),
    "action": ("a photo of a cat {}", "a photo of a robot {}", "a photo of a dog {} on the beach"),
}
"""Kind of the subject -> templates of previews; those of an object serve every other kind."""
