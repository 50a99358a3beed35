"""Training the pocket base: every stage runs, and stopped anywhere it goes on to the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel, ViTModel

from limner.bases.common.loading import POCKET
from limner.core.streams import stream
from limner.engine.parallel import ALONE
from limner.pocket.judges import WEIGHTS
from limner.pocket.labels import FIELDS, SIDED, codes, mirrored
from limner.pocket.world import SPLITS, WHOLE, caption, draw, sample
from limner.pocket.world.grammar import words
from tests.helpers import same
from training.pocket import autoencoder as ae
from training.pocket import decoder, denoiser, judges, language
from training.pocket.adopt import NETWORKS, adopt
from training.pocket.data import NUM_VIEWS, graphs_of, pictures, rows
from training.pocket.export import export
from training.pocket.run import Run, keep


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), pictures=40, size=64, scale=0.0001, precision="float32")


def test_pictures_are_kept_and_read_back(run: Run) -> None:
    first, again = pictures(run, "train"), pictures(run, "train")
    assert first.pixels.shape == (40, 3, 64, 64)
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.toys, again.toys)
    views = graphs_of(run, "individuals")[:NUM_VIEWS]
    assert len({graph.toys[0].individual.seed for graph in views}) == 1
    assert len({graph.scene for graph in views}) > 1


def test_training_judging_and_evaluating_see_different_individuals(run: Run) -> None:
    ids = {
        name: {toy.individual.seed for g in graphs_of(run, name) for toy in g.toys}
        for name in ("train", "dev", "individuals", "pairs")
    }
    assert not ids["train"] & ids["dev"]
    assert max(ids["individuals"] | ids["pairs"]) < 1_000_000


def test_of_two_toys_it_is_kept_which_is_where(run: Run) -> None:
    pairs = pictures(run, "pairs")
    drawn = draw(list(pairs.graphs), size=run.size)
    assert all(len(graph.toys) == 2 for graph in pairs.graphs)
    assert torch.equal(pairs.toys.long(), drawn.toy.long() + 1)
    assert torch.equal(pairs.masks, drawn.masks)


def test_an_epoch_holds_every_row_once() -> None:
    seen = torch.cat([rows(50, 10, step, seed=0, purpose="x") for step in range(5)])
    assert sorted(seen.tolist()) == list(range(50))
    later = torch.cat([rows(50, 10, step, seed=0, purpose="x") for step in range(5, 10)])
    assert not torch.equal(seen, later)
    assert torch.equal(rows(7, 10, 3, seed=0, purpose="x"), rows(7, 10, 3, seed=0, purpose="x"))


def test_every_word_is_one_token_and_any_text_can_be_read(run: Run) -> None:
    tokens = language.tokenizer(run)
    for word in (w for w in words() if w.isalpha()):
        assert len(tokens(word, add_special_tokens=False).input_ids) == 1, word
    odd = tokens("Xylophone-42!", add_special_tokens=False).input_ids
    assert len(odd) > 1
    assert tokens.unk_token_id not in odd
    assert tokens.init_kwargs["rare_words"][0] == "zib"


def test_the_vocabulary_is_the_same_every_time() -> None:
    once, again = language.byte_pairs(), language.byte_pairs()
    assert list(once[0].items()) == list(again[0].items())
    assert once[1] == again[1]


class Died(Exception):
    """A run that ends the moment a checkpoint is on the disk."""


@pytest.mark.parametrize(
    "stage", ["segmenter", *(pytest.param(name, marks=pytest.mark.sweep) for name in ("dino", "denoiser"))]
)
def test_stopped_anywhere_a_stage_ends_at_the_same_bits(
    run: Run, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.pocket import run as runs

    module = denoiser if stage == "denoiser" else judges
    keeper = denoiser if stage == "denoiser" else runs
    monkeypatch.setattr(keeper, "CHECKPOINT_SECONDS", -1.0)
    pictures(run, "train")
    if stage == "denoiser":  # both runs take the networks that come before it
        denoiser.assembled(run, denoiser.new_unet())
    whole, cut = (replace(run, folder=tmp_path / name, scale=0.0) for name in ("whole", "cut"))  # two updates
    for one in (whole, cut):
        shutil.copytree(run.folder, one.folder)
    first = getattr(module, stage)(whole).state_dict()
    assert not whole.path(f"{stage}.state").exists()
    assert whole.path(f"{stage}.jsonl").stat().st_size > 0

    save = keeper._save

    def die(*given: Any) -> None:
        save(*given)
        raise Died

    monkeypatch.setattr(keeper, "_save", die)
    with pytest.raises(Died):
        getattr(module, stage)(cut)
    assert cut.path(f"{stage}.state").exists()
    assert not cut.finished(stage)
    monkeypatch.setattr(keeper, "_save", save)
    second = getattr(module, stage)(cut).state_dict()
    assert same(first, second)
    assert not cut.path(f"{stage}.state").exists()


@pytest.mark.sweep
def test_two_processes_train_the_denoiser_as_one_does(run: Run, tmp_path: Path) -> None:
    pictures(run, "train")
    denoiser.assembled(run, denoiser.new_unet())
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(run.folder, folder)
    given = ("--pictures", "40", "--size", "64", "--scale", "0", "--precision", "float32", "--stage", "denoiser")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--")
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for folder, started_by in zip(folders, (("-m",), launcher), strict=True):
        command = (sys.executable, *started_by, "training.pocket", "--run", str(folder), *given)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(folder / "denoiser.safetensors") for folder in folders)
    assert any(not torch.equal(one[name], start) for name, start in denoiser.new_unet().state_dict().items())
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=2e-5, rtol=1e-3)


def test_times_are_learned_where_pictures_take_shape(run: Run) -> None:
    unet = denoiser.new_unet()
    drawn = {
        learning: denoiser.assembled(run, unet, learning=learning).draw_times(10_000, stream(0, "times")).float()
        for learning in (False, True)
    }
    mean, spread = denoiser.TIMES
    logits = torch.logit((drawn[True] + 0.5) / 1000)
    assert abs(logits.mean() - mean) < 0.05
    assert abs(logits.std() - spread) < 0.05
    assert abs(drawn[False].mean() - 500) < 10


def test_errors_on_toys_count_more_to_the_denoiser(run: Run) -> None:
    source = denoiser.world_latents(run)
    batch = source.prepare(denoiser.assembled(run, denoiser.new_unet()))(3, lambda purpose: stream(0, purpose, 3))
    assert batch.mask is not None
    rows = [int((ae.train_latents(run)[0].float() == one).flatten(1).all(1).nonzero()[0]) for one in batch.latents]
    masks = pictures(run, "train").masks[rows].float()
    for here, mask in zip(batch.mask[:, 0], masks, strict=True):
        covered = torch.nn.functional.avg_pool2d(mask[None], 8)[0]
        torch.testing.assert_close(here * ae.ON_TOYS, 1 + (ae.ON_TOYS - 1) * covered, atol=2e-3, rtol=0)
    assert masks.any()


def test_a_run_begins_with_what_an_earlier_one_knows_as_far_as_it_goes(run: Run, tmp_path: Path) -> None:
    small, large = torch.nn.Linear(3, 2), torch.nn.Linear(5, 4)
    run.save("grown", small.state_dict())
    fresh = large.weight.detach().clone()
    replace(run, folder=tmp_path, before=run.folder).begin("grown", large)
    assert torch.equal(large.weight[:2, :3], small.weight)
    assert torch.equal(large.weight[2:], fresh[2:])
    assert torch.equal(large.weight[:, 3:], fresh[:, 3:])
    assert torch.equal(large.bias[:2], small.bias)


def test_what_ships_can_be_gone_on_from(tmp_path: Path) -> None:
    run = Run(tmp_path, pictures=40)
    adopt(run)
    ships = {name for name, place in NETWORKS.items() if (WEIGHTS / place).exists()}
    assert {f.stem for f in tmp_path.glob("*.safetensors")} == ships
    assert {"autoencoder", "standardised", "denoiser", "clip", "judge"} <= ships
    shipped = StableDiffusionPipeline.from_pretrained(POCKET)
    folder = tmp_path / "text_encoder"
    language.save_text(run, folder)
    for made, there in (
        (denoiser.denoiser(run), shipped.unet),
        (ae.autoencoder(run), shipped.vae),
        (CLIPTextModel.from_pretrained(folder, dtype=torch.float32), shipped.text_encoder),
        (judges.dino(run), ViTModel.from_pretrained(WEIGHTS / "dino", add_pooling_layer=False)),
    ):
        state = made.state_dict()
        assert all(torch.equal(state[key], value.float()) for key, value in there.state_dict().items())
    for name in ("judge", "identity", "faces", "segmenter", "places"):
        weights = load_file(WEIGHTS / f"{name}.safetensors")
        state = getattr(judges, name)(run).state_dict()
        assert all(torch.equal(value, weights[key].float()) for key, value in state.items())
    assert language.tokenizer(run)("a red dog").input_ids == shipped.tokenizer("a red dog").input_ids


def test_an_edition_without_all_its_networks_leaves_the_rest_to_be_trained(tmp_path: Path) -> None:
    whole, run = tmp_path / "edition", Run(tmp_path / "run")
    shutil.copytree(WEIGHTS / "base" / "tokenizer", whole / "base" / "tokenizer")
    shutil.copy(WEIGHTS / "segmenter.safetensors", whole)
    run.folder.mkdir()
    adopt(run, whole)
    assert [f.stem for f in run.folder.glob("*.safetensors")] == ["segmenter"]


def test_a_run_without_a_denoiser_hands_on_what_it_has(run: Run, tmp_path: Path) -> None:
    folder, following = tmp_path / "edition", Run(tmp_path / "run", size=run.size)
    for network in (ae.standardised, language.clip, judges.segmenter):
        network(run)
    export(run, folder)
    assert not (folder / "base" / "unet").exists()
    assert {f.name for f in folder.glob("*.safetensors")} >= {"segmenter.safetensors"}
    following.folder.mkdir()
    adopt(following, folder)
    for name in ("standardised", "clip", "segmenter"):
        there, adopted = run.weights(name), following.weights(name)
        assert there.keys() == adopted.keys()
        assert all(torch.equal(there[key].half().float(), adopted[key]) for key in there)
    assert language.tokenizer(following)("a red dog").input_ids == language.tokenizer(run)("a red dog").input_ids


def test_mirrored_pictures_have_mirrored_labels(run: Run) -> None:
    graphs = [sample(k, world=replace(WHOLE, pairs=0.0, triples=0.0)) for k in range(200)]
    true = codes(graphs)
    other = mirrored(true)
    assert np.array_equal(mirrored(other), true)
    changed = {field for column, field in enumerate(FIELDS) if (true[:, column] != other[:, column]).any()}
    assert changed == set(SIDED)
    first = {field: FIELDS[field][code] for field, code in zip(FIELDS, true[0], strict=True)}
    swapped = {field: FIELDS[field][code] for field, code in zip(FIELDS, other[0], strict=True)}
    assert (first["azimuth"], swapped["azimuth"]) == ("front right", "front left")


def test_rows_that_may_not_be_mirrored_stay(run: Run) -> None:
    darker_left = torch.linspace(0, 1, 64).expand(16, 3, 64, 64)
    near, flipped = judges.nearer(darker_left, stream(0, "varied", 1), may_flip=torch.arange(16) < 8)
    assert flipped[:8].any()
    assert not flipped[8:].any()
    assert torch.equal(flipped, near[:, 0, 0, 0] > near[:, 0, 0, -1])


@pytest.mark.parametrize("stage", ["judge", "identity", "faces", "places"])
def test_the_other_judges_train(run: Run, stage: str) -> None:
    network = getattr(judges, stage)(run)
    assert run.finished(stage)
    out = network(torch.rand(2, 3, 64, 64))
    if stage == "judge":
        assert out["class"].shape == (2, 19)
    elif stage == "places":
        assert out.shape == (2, 20, 8, 8)
    else:
        assert torch.allclose(out.norm(dim=-1), torch.ones(2), atol=1e-4)


def test_a_caption_is_said_so_that_the_tower_can_read_it_whole(run: Run) -> None:
    tokens = language.tokenizer(run)
    crowded = [sample(k, world=replace(WHOLE, pairs=1.0, faces=0.0)) for k in range(60)]
    lengths = [len(tokens(language.fitting(tokens, g), add_special_tokens=False).input_ids) for g in crowded]
    plainly = [len(tokens(caption(g), add_special_tokens=False).input_ids) for g in crowded]
    assert max(plainly) > language.LENGTH - 2 >= max(lengths)
    assert language.fitting(tokens, sample(1), seed=3) == caption(sample(1), seed=3)


@pytest.mark.sweep
def test_motion_modules_learn_and_the_denoiser_does_not(run: Run) -> None:
    from training.pocket import denoiser, motion

    run.save(denoiser.NAME, denoiser.new_unet().state_dict())
    base = denoiser.assembled(run, denoiser.denoiser(run))
    before = {name: tensor.clone() for name, tensor in base.module("denoiser").state_dict().items()}
    still = motion.new_adapter().state_dict()
    learned = motion.motion(replace(run, pictures=4)).state_dict()
    assert any(not torch.equal(still[name], learned[name]) for name in still)
    assert all(torch.equal(tensor, run.weights(denoiser.NAME)[name]) for name, tensor in before.items())
    clips = motion.clips_of(run, "held-out", 2)
    assert [len(one) for one in clips] == [motion.FRAMES] * 2
    assert all(g.toys[0].individual.seed >= SPLITS["held-out"].start for one in clips for g in one)
    painted = motion.painted_clips(base, motion.motion(run), ["a dog walking", "a cat"], steps=2)
    assert painted.shape == (2, motion.FRAMES, *base.latent_shape)


def test_an_extended_vocabulary_keeps_every_number_and_gives_new_words_one_token() -> None:
    known = sorted({piece for piece in language._pieces() if piece.isalpha()})
    old, new = known[::2], known
    vocab, merges = language.extended({}, [], old)
    larger, more = language.extended(vocab, merges, new)
    assert list(larger)[: len(vocab)] == list(vocab)
    assert all(larger[token] == number for token, number in vocab.items())
    assert more[: len(merges)] == merges
    ranks = {pair: rank for rank, pair in enumerate(more)}
    for word in new:
        assert language._merged([*word[:-1], f"{word[-1]}</w>"], ranks) == [f"{word}</w>"]


def test_attention_is_bounded_head_by_head_and_nothing_else_moves() -> None:
    unet = denoiser.new_unet()
    with torch.no_grad():
        for name, layer in unet.named_modules():
            if name.endswith("attn2"):
                layer.to_q.weight.mul_(40.0)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    given = (
        torch.randn(2, 12, 16, 16, generator=generator),
        torch.tensor([500, 20]),
        torch.randn(2, 8, 192, generator=generator),
    )
    with denoiser.Listening(unet, ALONE) as heard:
        heard.on = True
        unet(*given)
        first = heard.cap(20.0)
        unet(*given)
        second = heard.cap(20.0)
        heard.on = False
        unet(*given)
        assert heard.cap(20.0) == {}
    assert max(first.values()) > 20.0
    assert max(second.values()) < 1.3 * 20.0  # layers below a bounded one read other hidden states now
    moved = {name for name, value in unet.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.endswith(("attn2.to_q.weight", "attn2.to_k.weight")) for name in moved)
    assert not any(module._forward_hooks for module in unet.modules())


def test_a_sharper_decoder_leaves_encoder_and_latents_alone(run: Run) -> None:
    before, after = ae.standardised(run), decoder.decoder(run)
    first, second = before.state_dict(), after.state_dict()
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved
    assert not any(name.startswith(("encoder.", "quant_conv.")) for name in moved)
    assert torch.equal(ae.best(run).state_dict()["decoder.conv_out.weight"], second["decoder.conv_out.weight"])


def test_training_pictures_are_of_every_stratum_in_its_share(run: Run) -> None:
    graphs = graphs_of(replace(run, pictures=400), "train")
    people = sum(bool(graph.people) for graph in graphs) / len(graphs)
    several = sum(len(graph.toys) > 1 for graph in graphs) / len(graphs)
    styles = sum(graph.style != "render" for graph in graphs) / len(graphs)
    assert 0.14 < people < 0.22
    assert 0.12 < several < 0.22
    assert 0.08 < styles < 0.20
    assert [graph.seed for graph in graphs_of(run, "train")] == [graph.seed for graph in graphs[:40]]


def test_taken_networks_are_the_earlier_runs(run: Run, tmp_path: Path) -> None:
    run.save("autoencoder-like", {"weight": torch.ones(2)})
    later = replace(run, folder=tmp_path, before=run.folder)
    keep(later, ["autoencoder-like"])
    assert torch.equal(later.weights("autoencoder-like")["weight"], torch.ones(2))
