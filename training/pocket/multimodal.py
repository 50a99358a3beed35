"""The multimodal model of the pocket base: a small language model taught to say what it sees through CLIP's image
encoder.

It stands on what is exported already, CLIP and the tokenizer, so it is a stage of its own behind the export:
`python -m training.pocket --run FOLDER --stage multimodal`.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limner.parts.augmentations.plain import on_plain
from limner.parts.encoders.multimodal import PICTURE, TOWER, Multimodal, opened
from limner.parts.sources.corpus import Shelf
from limner.pocket.corpus import NUM_VIEWS, toys
from limner.pocket.judges import WEIGHTS, clip
from limner.pocket.world import CORE, caption, describe, draw, individual, references, sample
from limner.pocket.world.graph import SPLITS
from limner.pocket.world.vocabulary import COLOURS

from .language import write_json
from .run import Run, train

NAME = "multimodal"
BATCH = 64
WIDTH, LAYERS, HEADS = 160, 3, 4
DEPTHS = [2, 4]
"""Layers of the image encoder that are seen: half way, where there are colours and patterns, and the last."""

TEMPLATE = (
    "{% for turn in messages %}{% for part in turn['content'] %}{% if part['type'] == 'image' %}<image>{% else %}"
    " {{ part['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} :{% endif %}"
)


def tokenizer(folder: Path = WEIGHTS) -> Any:
    """The pocket tokenizer with a token that stands for a picture."""
    from tokenizers import decoders
    from transformers import CLIPTokenizer

    tokens = CLIPTokenizer.from_pretrained(folder / "base" / "tokenizer")
    tokens.add_special_tokens({"additional_special_tokens": [PICTURE]})
    tokens.backend_tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    tokens.chat_template = TEMPLATE
    tokens.model_max_length = 256
    return tokens


def new_model(seed: int, tokens: Any) -> Any:
    """A `LlavaForConditionalGeneration` with the pocket's image encoder and fresh weights otherwise."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    whole, _ = clip()
    text = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
        tie_word_embeddings=True,
    )
    config = LlavaConfig(
        vision_config=whole.config.vision_config,
        text_config=text,
        image_token_index=tokens.convert_tokens_to_ids(PICTURE),
        vision_feature_layer=DEPTHS,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    config.asked = {"caption": "", "new picture": "{prompt}"}
    setattr(config, TOWER, "../clip")
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.set_attn_implementation("eager")  # faster than the fused one on a CPU at this size
    tower: Any = model.model.vision_tower
    tower.load_state_dict({k.removeprefix("vision_model."): v for k, v in whole.vision_model.state_dict().items()})
    return model


@dataclass(frozen=True)
class Told:
    """One line to learn from: a text, the picture in it (number and whether its toy stands alone), and where the
    answer, of which the loss is, begins."""

    text: str
    answer: str
    picture: int | None = None
    alone: bool = False


def make_line(corpus: toys, number: int, seed: int) -> Told:
    """Line `number` of a run: what a picture shows; another picture asked for, the toy seen in the text or before it;
    or a text without picture."""
    rng = np.random.default_rng((seed, number, 91))
    picture = int(rng.integers(len(corpus.subjects) * NUM_VIEWS))
    match int(rng.integers(4)):
        case 0:
            return Told(f"{PICTURE} :", corpus.caption(picture, corpus.looks(picture), seed=number), picture)
        case 1:
            return Told("", caption(sample(number), seed=number))
        case way:
            other = picture // NUM_VIEWS * NUM_VIEWS + int(rng.integers(NUM_VIEWS))
            adapted = _draw_accessory(rng)
            text, answer = (
                corpus.caption(other, f"{who}{adapted}", seed=number)
                for who in (PICTURE if way == 2 else f"a {corpus.noun(picture)}", corpus.looks(picture))
            )
            asked = text if way == 2 else f"{PICTURE} {text}"
            return Told(f"{asked} :", answer, picture, bool(rng.random() < 0.6))


def _draw_accessory(rng: np.random.Generator) -> str:
    """Something to wear, of every third toy: the corpus has it alone, prompts do not."""
    colours = list(COLOURS)
    colour, thing = colours[int(rng.integers(len(colours)))], int(rng.integers(12))
    kinds = (f"a {colour} hat", "sunglasses", f"a {colour} scarf", f"a {colour} crown")
    return f" wearing {kinds[thing]}" if thing < len(kinds) else ""


def multimodal(run: Run, folder: Path = WEIGHTS) -> Any:
    """Train it, write it as a folder of transformers, and measure it on toys that no training saw."""
    import limner

    tokens = tokenizer(folder)
    model = new_model(run.seed, tokens).to(run.device)
    reader = Multimodal(model, tokens, run.size, *(torch.full((1, 3, 1, 1), 0.5, device=run.device) for _ in range(2)))
    learning = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model])
    model.requires_grad_(False)
    learning.requires_grad_(True)
    if not run.finished(NAME):
        corpus = toys()
        seen = _looked(model, Shelf(corpus, limner.load("pocket", device=run.device)), run.device)

        def loss(step: int) -> tuple[Tensor, dict[str, float]]:
            lines = [make_line(corpus, step * BATCH + n, run.seed) for n in range(BATCH)]
            return _loss(reader, lines, _projected(model, seen, lines))

        train(run, NAME, learning, loss, steps=run.steps(900), lr=2e-3, weight_decay=0.05)
    learning.load_state_dict(run.weights(NAME))
    model.eval().requires_grad_(False)
    _export(run, model, tokens, folder / NAME)
    measured = measure(opened(str(folder / NAME), run.device))
    lines = [json.loads(line) for line in run.path(f"{NAME}.jsonl").read_text(encoding="utf-8").splitlines()]
    write_json(
        folder / NAME / "training.json",
        {"held out": measured, "losses": lines[:: max(1, len(lines) // 40)] + lines[-1:]},
    )
    return model


def _looked(model: Any, shelf: Shelf, device: str) -> list[Tensor]:
    """Every picture as the tower sees it, as it is and alone on plain ground: two of [n, places, width] in half
    precision."""
    numbers = [k for pictures in shelf.corpus.subjects for k in pictures]
    states: list[list[Tensor]] = [[], []]
    for start in range(0, len(numbers), BATCH):
        part = numbers[start : start + BATCH]
        pixels, masks = shelf.pixels(part), shelf.masks(part)
        assert masks is not None
        for own_states, shown in zip(states, (pixels, on_plain(pixels, masks)), strict=True):
            own_states.append(_tower(model, shown.to(device)))
    return [torch.cat(parts) for parts in states]


def _tower(model: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        out = model.model.vision_tower(pixels * 2 - 1, output_hidden_states=True).hidden_states
    return torch.cat([out[depth][:, 1:] for depth in DEPTHS], -1).half()


def _projected(model: Any, seen: Sequence[Tensor], lines: Sequence[Told]) -> Tensor:
    """[B, places, width]; of lines without a picture, that of the first."""
    rows = torch.stack([seen[line.alone][line.picture or 0] for line in lines])
    with torch.autocast(rows.device.type, torch.bfloat16):
        embeddings: Tensor = model.model.multi_modal_projector(rows.float())
    return embeddings


def _loss(reader: Multimodal, lines: Sequence[Told], seen: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the answers' tokens, and how many of them are the likeliest."""
    with torch.autocast(seen.device.type, torch.bfloat16):
        value, right = reader.likelihood([line.text for line in lines], [line.answer for line in lines], seen)
    return value, {"loss": value.item(), "accuracy": right}


def _export(run: Run, model: Any, tokens: Any, folder: Path) -> None:
    """The standard folder, without the image encoder, in half precision."""
    shutil.rmtree(folder, ignore_errors=True)
    state = {
        k: v.half() for k, v in model.state_dict().items() if "vision_tower" not in k and not k.startswith("lm_head")
    }
    model.half().save_pretrained(folder, state_dict=state)
    model.float()
    tokens.save_pretrained(folder)
    write_json(
        folder / "config.json", {**json.loads((folder / "config.json").read_text(encoding="utf-8")), "dtype": "float32"}
    )
    about = {"image_processor_type": "CLIPImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    write_json(folder / "preprocessor_config.json", {**about, "size": {"height": run.size, "width": run.size}})


def measure(reader: Multimodal, *, count: int = 128) -> dict[str, float]:
    """Loss and token accuracy on captions of toys of the dev split and on new pictures of them asked for, and how often
    what it says of a picture names all of the toy's looks."""
    who = [
        individual(CORE.classes[k % len(CORE.classes)], SPLITS["dev"].start + 5000 + k, patterns=CORE.patterns)
        for k in range(count)
    ]
    graphs = [references(one, 1, seed=k)[0] for k, one in enumerate(who)]
    pixels = draw(graphs).pixels.float() / 255
    scores: dict[str, float] = {"pictures": count}
    for kind in ("caption", "new picture"):
        lines = []
        for k, (one, graph) in enumerate(zip(who, graphs, strict=True)):
            there = graph if kind == "caption" else sample(900_000_000 + k)
            plain, answer = (caption(there, seed=k, name=name) for name in (f"a {one.kind}", f"a {describe(one)}"))
            lines.append(Told(reader.asked(kind, prompt=plain, noun=one.kind), answer, k))
        with torch.no_grad():
            parts = [
                _loss(reader, lines[s : s + BATCH], reader.seen(pixels[s : s + BATCH]))[1]
                for s in range(0, count, BATCH)
            ]
        for name in ("loss", "accuracy"):
            scores[f"{kind}: {name}"] = round(statistics.mean(part[name] for part in parts), 4)
    captions = reader.captions(pixels)
    scores["caption: all looks right"] = round(
        statistics.mean(float(describe(one) in text) for one, text in zip(who, captions, strict=True)), 4
    )
    scores["caption: first colour and class right"] = round(
        statistics.mean(
            float({one.colours[0], one.kind} <= set(text.replace(",", "").split()))
            for one, text in zip(who, captions, strict=True)
        ),
        4,
    )
    return scores
