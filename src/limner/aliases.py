"""The flags of the ecosystem's training scripts, understood by `limner learn`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import InputError

RENAMED = {
    "--pretrained_model_name_or_path": "--base",
    "--output_dir": "--out",
    "--learning_rate": "--lr",
    "--max_train_steps": "--steps",
    "--train_batch_size": "--batch",
    "--prior_loss_weight": "--prior-weight",
    "--num_class_images": "--num-class-pictures",
    "--network_dim": "--rank",
    "--placeholder_token": "--name",
    "--initializer_token": "--class",
    "--num_vectors": "--vectors",
    "--mixed_precision": "--dtype",
    "--what_to_teach": "--kind",
}
"""diffusers' `train_dreambooth*.py`, `train_textual_inversion.py` and kohya's names -> ours."""

PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}
PHOTOS = ("--instance_data_dir", "--train_data_dir")
PROMPTS = ("--instance_prompt", "--class_prompt")
ARTICLES = ("a", "an", "the")


def translated(arguments: Sequence[str], say: Callable[[str], Any]) -> list[str]:
    """The arguments of `limner learn` with other tools' flags in our words; anything else is left as it is.

    `--instance_prompt "a photo of sks dog"` says the name (sks) and the class (dog) where no other flag does;
    `--with_prior_preservation` is what methods do by themselves, and without it the prior's weight stays the method's own.
    """
    if list(arguments[:1]) != ["learn"] or not any(_known(word) for word in arguments):
        return list(arguments)
    pairs, found = _pairs(arguments[1:]), ["learn"]
    prompts = {flag: value for flag, value in pairs if flag in PROMPTS}
    for flag, value in pairs:
        if flag in PHOTOS:
            found.append(_needed(flag, value))
        elif flag in PROMPTS or flag == "--with_prior_preservation":
            continue
        elif flag == "--mixed_precision":
            found += ["--dtype", PRECISIONS.get(_needed(flag, value), value or "")]
        elif flag in RENAMED:
            found += [RENAMED[flag], _needed(flag, value)]
        else:
            found += [word for word in (flag, value) if word is not None]
    name, noun = _said(prompts)
    if noun and not _has(found, "--class"):
        found += ["--class", noun]
    if name and not _has(found, "--name"):
        found += ["--name", name]
    say(f"read as: limner {' '.join(_quoted(word) for word in found)}")
    return found


def _known(word: str) -> bool:
    return word.partition("=")[0] in (*RENAMED, *PHOTOS, *PROMPTS, "--with_prior_preservation")


def _pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """(flag, value), (flag, None) for a switch, and (word, None) for what stands alone."""
    found: list[tuple[str, str | None]] = []
    index = 0
    while index < len(words):
        flag, sign, value = words[index].partition("=")
        if not flag.startswith("--") or not _known(flag) or flag == "--with_prior_preservation":
            found.append((words[index] if not _known(flag) else flag, None))
        elif sign:
            found.append((flag, value))
        else:
            index += 1
            found.append((flag, words[index] if index < len(words) else None))
        index += 1
    return found


def _needed(flag: str, value: str | None) -> str:
    if value is None:
        raise InputError(f"{flag} needs a value")
    return value


def _said(prompts: dict[str, str | None]) -> tuple[str, str]:
    """Name and class noun as the prompts of DreamBooth's script say them."""
    words = (prompts.get("--instance_prompt") or "").split()
    plain = (prompts.get("--class_prompt") or "").split()
    if not words:
        return "", plain[-1] if plain else ""
    extra = [word for word in words if word not in plain] if plain else words[-2:-1]
    name = next((word for word in extra if word.lower() not in ARTICLES), "")
    noun = plain[-1] if plain else words[-1]
    return (name if name != noun else "", noun)


def _has(words: Sequence[str], flag: str) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in words)


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
