"""The flags of diffusers' and kohya's training scripts, which `limner learn` understands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from limner.core.escaping import shell_word
from limner.core.wording import listed
from limner.errors import InputError

RENAMED = {
    "--pretrained_model_name_or_path": "--base",
    "--output_dir": "--out",
    "--learning_rate": "--lr",
    "--max_train_steps": "--steps",
    "--train_batch_size": "--batch",
    "--prior_loss_weight": "--prior-weight",
    "--num_class_images": "--num-class-pictures",
    "--network_dim": "--rank",
    "--network_alpha": "--alpha",
    "--sample_every_n_steps": "--sample-every",
    "--validation_steps": "--sample-every",
    "--validation_prompt": "--sample-prompt",
    "--config_file": "--config",
    "--placeholder_token": "--name",
    "--initializer_token": "--class",
    "--num_vectors": "--vectors",
    "--mixed_precision": "--dtype",
    "--what_to_teach": "--kind",
}
"""Flags of diffusers' `train_dreambooth*.py` and `train_textual_inversion.py` and of kohya's scripts -> ours."""

PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}
PHOTOS = ("--instance_data_dir", "--train_data_dir")
PROMPTS = ("--instance_prompt", "--class_prompt")
ARTICLES = ("a", "an", "the")
SWITCHES = {
    "--with_prior_preservation": "",
    "--gradient_checkpointing": "--checkpointing",
    "--xformers": "",
    "--sdpa": "",
    "--enable_xformers_memory_efficient_attention": "",
    "--cache_latents": "",
}
"""Flags without a value -> ours; empty where limner does the same by default."""


class Absent(NamedTuple):
    """A flag of other tools that has no counterpart here.

    same: values that ask for what limner does anyway, so that the flag is ignored
    instead: what to do for any other value
    """

    same: tuple[str, ...]
    instead: str


_RATE = "the learning rate is one of a method's settings and stays constant: --lr"
_SIZE = (
    "a base learns and paints at its own size (`limner bases`), and pictures are cut to it: leave it out, or name "
    "another --base"
)
_STATES = "checkpoints are written every few seconds, and --resume continues from the last one: leave it out"
_EPOCHS = "the length of training is counted in updates: --steps"
ABSENT = {
    "--resolution": Absent((), _SIZE),
    "--center_crop": Absent((), _SIZE),
    "--random_crop": Absent((), _SIZE),
    "--enable_bucket": Absent((), _SIZE),
    "--lr_scheduler": Absent(("constant",), _RATE),
    "--lr_warmup_steps": Absent(("0",), _RATE),
    "--lr_num_cycles": Absent(("1",), _RATE),
    "--scale_lr": Absent((), _RATE),
    "--gradient_accumulation_steps": Absent(
        ("1",), "an update is one batch; less memory: a smaller --batch, --checkpointing or --fit GB"
    ),
    "--num_train_epochs": Absent((), _EPOCHS),
    "--max_train_epochs": Absent((), _EPOCHS),
    "--network_module": Absent(
        ("networks.lora",), "the kind of network follows from the method: --method, of `limner methods`"
    ),
    "--optimizer": Absent(("AdamW", "adamw"), "the optimiser belongs to the method: leave it out"),
    "--optimizer_type": Absent(("AdamW", "adamw"), "the optimiser belongs to the method: leave it out"),
    "--use_8bit_adam": Absent(
        (), "the optimiser belongs to the method; less memory: --checkpointing, --dtype bfloat16 or --fit GB"
    ),
    "--checkpointing_steps": Absent((), _STATES),
    "--checkpoints_total_limit": Absent((), _STATES),
    "--save_every_n_epochs": Absent((), _STATES),
    "--resume_from_checkpoint": Absent((), _STATES),
    "--save_model_as": Absent(("safetensors",), "concepts are safetensors; `limner export` writes other tools' files"),
    "--train_text_encoder": Absent(
        (), "the method decides what is trained: dreambooth trains the text encoder too (`limner methods`)"
    ),
    "--class_data_dir": Absent((), "pictures of the class are painted by the base itself: --num-class-pictures"),
    "--caption_extension": Absent(
        (".txt", "txt", ".caption", "caption"), "captions are read from .txt and .caption files beside the pictures"
    ),
    "--report_to": Absent(
        ("none",), "`limner learn` draws its progress on the terminal; `limner pretrain --track` sends it to a tracker"
    ),
    "--validation_epochs": Absent((), "samples during training are counted in updates: --sample-every"),
    "--num_validation_images": Absent(
        ("1",), "one picture of each --sample-prompt is painted: repeat the prompt for more"
    ),
    "--sample_prompts": Absent((), 'give the prompts themselves: --sample-prompt "<rex> on the beach"'),
    "--push_to_hub": Absent((), "`limner publish CONCEPT --to USER/REPO` uploads it, with a card"),
}
"""Flags of diffusers' and kohya's scripts that have no counterpart."""


def translated(arguments: Sequence[str], say: Callable[[str], Any]) -> list[str]:
    """The arguments of `limner learn` with other tools' flags replaced by ours; all other arguments stay as they are.

    `--instance_prompt "a photo of sks dog"` gives the name (sks) and the class (dog) where no other flag does.
    `--with_prior_preservation` is ignored: methods preserve the prior by default, and without the flag the weight of
    the prior stays the method's own.
    """
    if list(arguments[:1]) != ["learn"] or not any(_known(word) for word in arguments):
        return list(arguments)
    pairs, command = _pairs(arguments[1:]), ["learn"]
    prompts = {flag: value for flag, value in pairs if flag in PROMPTS}
    for flag, value in pairs:
        if flag in PHOTOS:
            command.append(_needed(flag, value))
        elif flag in PROMPTS or (flag in ABSENT and value in ABSENT[flag].same):
            continue
        elif flag in SWITCHES:
            command += [SWITCHES[flag]] if SWITCHES[flag] else []
        elif flag == "--mixed_precision":
            command += ["--dtype", PRECISIONS.get(_needed(flag, value), value or "")]
        elif flag in RENAMED:
            command += [RENAMED[flag], _needed(flag, value)]
        else:
            command += [word for word in (flag, value) if word is not None]
    name, noun = _parse_prompts(prompts)
    if noun and not _has(command, "--class"):
        command += ["--class", noun]
    if name and not _has(command, "--name"):
        command += ["--name", name]
    if command != list(arguments):
        say(f"read as: limner {' '.join(map(shell_word, command))}")
    return command


def _known(word: str) -> bool:
    flag = word.partition("=")[0]
    return flag in (*RENAMED, *PHOTOS, *PROMPTS, *SWITCHES) or bool(ABSENT.get(flag, Absent((), "")).same)


def advice(flag: str, known: Sequence[str], *, method: str | None = None) -> str:
    """Advice about a flag that a command does not have, where other tools or other methods have it; else empty."""
    if flag in ABSENT:
        return f"there is no {flag}: {ABSENT[flag].instead}"
    ours = RENAMED.get(flag, flag)
    if ours in known:
        return f"there is no flag {flag}; it is {ours} here"
    name = ours.removeprefix("--").removeprefix("no-").replace("-", "_")
    from limner.core.method import settings
    from limner.methods import DEFAULT, methods

    having = [other for other, function in methods().items() if any(s.name == name for s in settings(function))]
    having.sort(key=lambda other: other != DEFAULT)
    if having and "--method" in known:
        whose = f"{method} has" if method else "this method has"
        return f"{whose} no setting {ours}; these methods have: {listed(having)}"
    return ""


def _pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """(flag, value) pairs; (flag, None) for a switch, and (word, None) for a word without a flag."""
    pairs: list[tuple[str, str | None]] = []
    index = 0
    while index < len(words):
        flag, sign, value = words[index].partition("=")
        if not flag.startswith("--") or not _known(flag) or flag in SWITCHES:
            pairs.append((words[index] if not _known(flag) else flag, None))
        elif sign:
            pairs.append((flag, value))
        else:
            index += 1
            pairs.append((flag, words[index] if index < len(words) else None))
        index += 1
    return pairs


def _needed(flag: str, value: str | None) -> str:
    if value is None:
        raise InputError(f"{flag} needs a value")
    return value


def _parse_prompts(prompts: dict[str, str | None]) -> tuple[str, str]:
    """Name and class noun from the prompts of DreamBooth's training script."""
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
