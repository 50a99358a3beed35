"""Prompts that name concepts by their handles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from limner.errors import PromptError

from .wording import shortened


def check_prompts(prompts: Sequence[str], *, handles: Sequence[str]) -> None:
    """Raise `PromptError` for an empty prompt, and for a <handle> that no attached concept answers to."""
    for prompt in prompts:
        if not prompt.strip():
            raise PromptError('the prompt is empty: say what to paint, as in "<rex> on the beach"')
        strange = [h for h in re.findall(r"<[^<>\s]+>", prompt) if h not in handles]
        if strange:
            adapted = (
                f"attached: {', '.join(handles)}"
                if handles
                else "no concept is attached: choose one, or on the command line --with FILE"
            )
            raise PromptError(f"nothing answers to {strange[0]} in {shortened(prompt)!r}; {adapted}")
