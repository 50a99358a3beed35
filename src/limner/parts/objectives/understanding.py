"""Understanding a subject: questions about it, answered through the text encoder that also serves generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from limner.core.needs import text_features
from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source

TEMPERATURE = 0.07


class Fact(NamedTuple):
    """A fact about a subject that is given as text alone: the words of a question, and the answer."""

    asked: str  # "its hat"
    answer: str  # "a red hat"


def facts_of(text: str) -> tuple[Fact, ...]:
    """The facts of a text such as "its hat = a red hat; its car = a blue car". Raises `InputError` for any other text.

    text: facts with ; between them, each the words of a question, =, and the answer; empty for none
    """
    facts = []
    for part in filter(str.strip, text.split(";")):
        asked, sign, answer = (piece.strip() for piece in part.partition("="))
        if not (asked and sign and answer):
            raise InputError(
                f"the fact {part.strip()[:100]!r} has no question and answer: write it as 'its hat = a red hat', with ; "
                "between facts"
            )
        facts.append(Fact(asked, answer))
    return tuple(facts)


def recognition_answer(source: Source, says: str, noun: str) -> Objective:
    """Cross-entropy of the answer to the question whether a picture shows the subject or another one of its class.

    The answers are texts, and a picture's answer is the one whose CLIP embedding is nearer to its own. UniCTokens
    (arXiv:2505.14671) takes the cross-entropy of the answer's text tokens, which needs a base that writes text.

    source: batches of `recognition_pictures`
    says: the words of the subject's tokens
    noun: the class noun
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        base, shown = step.adapted.base, step.batch.references
        if shown is None or shown.identity is None:
            raise InputError(f"{source.name} does not say which pictures show the subject, which this objective asks")
        with torch.no_grad():
            seen = F.normalize(base.picture_features(shown.first).float(), dim=-1)
        texts = _read(step, [f"a photo of a {noun}", f"a photo of {says}"])
        return F.cross_entropy(seen @ texts.T / TEMPERATURE, shown.identity)

    return Objective(f"recognition answer({source.name})", source, value, any_target=True, needs=(text_features,))


def knowledge(source: Source, facts: Sequence[Fact], says: str, noun: str) -> Objective:
    """Cross-entropy of the answers to questions about the subject, which only text tells (text-only question answering
    of arXiv:2505.14671).

    The text "SUBJECT with its hat" has to be nearer to "NOUN with a red hat" than to the answers of other questions and
    to "NOUN with its hat". Raises `InputError` without facts.

    source: gives step and random stream
    facts: questions and answers, one or more
    says: the words of the subject's tokens
    noun: the class noun
    """
    if not facts:
        raise InputError("knowledge needs a fact or more, such as 'its hat = a red hat'")

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        asked = _read(step, [f"a photo of {says} with {fact.asked}" for fact in facts])
        with torch.no_grad():
            answer_texts = [f"a photo of a {noun} with {fact.answer}" for fact in facts]
            plain = [f"a photo of a {noun} with {fact.asked}" for fact in facts]
            answers = _read(step, [*answer_texts, *plain])
        right = torch.arange(len(facts), device=asked.device)
        return F.cross_entropy(asked @ answers.T / TEMPERATURE, right)

    return Objective(f"knowledge({source.name})", source, value, any_target=True, needs=(text_features,))


def _read(step: Step, texts: Sequence[str]) -> Tensor:
    """[n, D]: unit embeddings of texts with the learned words."""
    import torch.nn.functional as F

    return F.normalize(step.adapted.base.text_features(texts, words=step.adapted.words).float(), dim=-1)
