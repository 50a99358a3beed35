"""The tokenizer of the pocket base, and the CLIP whose text encoder conditions it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.files import atomic_write
from limner.pocket.world import SceneGraph, caption
from limner.pocket.world.grammar import NONCE, words

from .data import floats, pictures, rows
from .run import Run, train

LENGTH = 32  # tokens the text encoder reads, with begin and end
BATCH = 128
TRIES = 16
START, END = "<|startoftext|>", "<|endoftext|>"


def tokenizer(run: Run) -> Any:
    """The run's `CLIPTokenizer`, made now when it was not before."""
    from transformers import CLIPTokenizer

    folder = run.path("tokenizer")
    if not (folder / "tokenizer_config.json").exists():
        earlier = None if run.before is None else run.before / "tokenizer"
        vocab, merges = extended(*_read(earlier), _pieces()) if earlier and earlier.exists() else byte_pairs()
        made = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH, rare_words=list(NONCE))
        made.save_pretrained(folder)
        (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        (folder / "merges.txt").write_text(
            "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n", encoding="utf-8"
        )
    return CLIPTokenizer.from_pretrained(folder)


def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-pair vocabulary in CLIP's form: every letter, and a token of its own for every word of the grammar.

    The same in every process: the trainer numbers letters with an end-of-word suffix as its hash table happens to list
    them, so a last letter goes to it as a letter of its own instead.
    """
    from tokenizers import Tokenizer, models, trainers

    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    last = {letter: chr(0xE000 + ord(letter)) for letter in letters}  # code points that no text has
    trained = Tokenizer(models.BPE())
    training_words = [f"{word[:-1]}{last[word[-1]]}" for word in sorted(_pieces())] * 4
    trainer = trainers.BpeTrainer(
        vocab_size=4000, min_frequency=2, initial_alphabet=[*letters, *last.values()], show_progress=False
    )
    trained.train_from_iterator(training_words, trainer)
    model = json.loads(trained.to_str())["model"]
    suffixes = str.maketrans({mark: f"{letter}</w>" for letter, mark in last.items()})
    known = [token.translate(suffixes) for token in sorted(model["vocab"], key=model["vocab"].get)]
    vocab = {token: index for index, token in enumerate([*known, START, END])}
    pairs = (m if isinstance(m, list) else m.split(" ") for m in model["merges"])
    return vocab, [(first.translate(suffixes), second.translate(suffixes)) for first, second in pairs]


Pair = tuple[str, str]


def extended(vocab: dict[str, int], merges: list[Pair], new_words: Iterable[str]) -> tuple[dict[str, int], list[Pair]]:
    """The vocabulary with a token of its own for every new word: what there was keeps its number, new tokens follow.

    So weights that read the earlier tokens read the larger vocabulary from the start. New pairs are merged after all
    earlier ones, so no earlier word is split otherwise.
    """
    vocab, merges = dict(vocab), list(merges)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    for word in sorted(new_words):
        pieces = _merged([*word[:-1], f"{word[-1]}</w>"], ranks)
        while len(pieces) > 1:
            first, second, *rest = pieces
            ranks[first, second] = len(merges)
            merges.append((first, second))
            vocab.setdefault(first + second, len(vocab))
            pieces = _merged([first + second, *rest], ranks)
    return vocab, merges


def _merged(pieces: list[str], ranks: Mapping[Pair, int]) -> list[str]:
    """The pieces after every merge that applies, earliest merges first."""
    while True:
        best = min(itertools.pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)), default=None)
        if best is None or best not in ranks:
            return pieces
        merged_pieces: list[str] = []
        for piece in pieces:
            if merged_pieces and (merged_pieces[-1], piece) == best:
                merged_pieces[-1] += piece
            else:
                merged_pieces.append(piece)
        pieces = merged_pieces


def _read(folder: Path) -> tuple[dict[str, int], list[Pair]]:
    """The vocabulary and the merges of a tokenizer's folder."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])
    return model["vocab"], [(first, second) for first, second in merges]


def _pieces() -> set[str]:
    """The grammar's words, a hyphen apart, as the tokenizer splits texts."""
    return {piece for word in words() for piece in re.findall(r"\w+|[^\w\s]+", word)}


def new_clip(run: Run) -> Any:
    """The small `CLIPModel` of a run, with fresh weights."""
    from transformers import CLIPConfig, CLIPModel

    tokens = tokenizer(run)
    shared = {
        "hidden_size": 192,
        "intermediate_size": 576,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "hidden_act": "quick_gelu",
    }
    text = shared | {
        "vocab_size": len(tokens),
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
        "projection_dim": 128,
    }
    vision = shared | {"image_size": run.size, "patch_size": run.size // 8, "projection_dim": 128}
    torch.manual_seed(run.seed)
    network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))
    network.set_attn_implementation("eager")  # a third faster than the fused one on a CPU at this size
    return network


def ids(tokens: Any, texts: list[str]) -> Tensor:
    """[B, LENGTH]"""
    input_ids: Tensor = tokens(
        texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    ).input_ids
    return input_ids


def fitting(tokens: Any, graph: SceneGraph, *, seed: int | None = None) -> str:
    """A caption that the text encoder can read whole: another way of saying the same picture where this one is too
    long, and the shortest of them, its end cut off, where none is short enough."""
    shortest = ""
    for way in [seed, *(1_000_003 * (seed or 0) + k for k in range(TRIES))]:
        text = caption(graph, seed=way)
        if len(tokens(text, add_special_tokens=False).input_ids) <= LENGTH - 2:
            return text
        shortest = min(shortest or text, text, key=len)
    return " ".join(shortest.replace(",", "").split()[: LENGTH - 6])  # a word such as close-up is three tokens


def clip(run: Run) -> Any:
    """Contrastive training of both towers on pictures and their captions (arXiv:2103.00020)."""
    network = new_clip(run)
    if run.finished("clip"):
        network.load_state_dict(run.weights("clip"))
        return network.eval()
    data, tokens = pictures(run, "train"), tokenizer(run)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.pixels), BATCH, step, seed=run.seed, purpose="clip")
        texts = [fitting(tokens, data.graphs[k], seed=step * BATCH + n) for n, k in enumerate(chosen.tolist())]
        pixels = normalised(floats(data.pixels[chosen])).to(run.device)
        with run.mixed():
            out = network(input_ids=ids(tokens, texts).to(run.device), pixel_values=pixels)
        logits = out.logits_per_text.float()
        target = torch.arange(BATCH, device=logits.device)
        value = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return value, {"loss": value.item(), "r@1": (logits.argmax(1) == target).float().mean().item()}

    # an earlier run's CLIP changes little, since a denoiser reads its hidden states
    steps, lr = (2000, 1e-3) if run.before is None else (700, 3e-4)
    return train(run, "clip", network, loss, steps=run.steps(steps), lr=lr, weight_decay=0.05)


def normalised(pixels: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1], as the pocket vision tower reads pictures."""
    return pixels * 2 - 1


def save_text(run: Run, folder: Path) -> None:
    """The text encoder alone, as `CLIPTextModel`, in half precision."""
    from transformers import CLIPTextModel

    whole = clip(run)
    tower = CLIPTextModel(whole.config.text_config)
    prefix = "text_model."
    state = {k: v for k, v in whole.state_dict().items() if k.startswith(prefix)}
    wanted = tower.state_dict()
    tower.load_state_dict({k: state[k if k in state else prefix + k] for k in wanted})
    tower.half().save_pretrained(folder)


def write_json(path: Path, value: object) -> None:
    atomic_write(path, lambda p: p.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"), overwrite=True)
