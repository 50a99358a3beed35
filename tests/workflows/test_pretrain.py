"""Pre-training: other corpora, parts, running means, exact resuming, previews, trackers, several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
import limner.core.weights
import limner.engine.checkpoint
from limner.apps.cli.main import main
from limner.core.tensor_files import read_safetensors
from limner.core.types import Batch, References
from limner.engine.attach import Adapter
from limner.engine.checkpoint_checks import MEAN
from limner.engine.parallel import Share, Spread
from limner.engine.train import train
from limner.errors import FileError, InputError, MissingExtra, UnknownName, WrongBase
from limner.methods import find
from limner.pocket.corpus import toys
from limner.workflows.pretrain import Manner, over, prepared, pretrain
from tests.helpers import open_image, same, ship_weights_in, state, untouched

SMALL: dict[str, Any] = {"steps": 4, "batch": 4}


@pytest.fixture(autouse=True)
def _folder(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights go into a folder of their own, toys are few, and previews are painted in 4 steps."""
    monkeypatch.setattr("limner.workflows.previews.STEPS", 4)
    ship_weights_in(tmp_path / "methods", base, monkeypatch)
    monkeypatch.setattr("limner.pocket.corpus.INDIVIDUALS", 4)


def weights(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    header, tensors = read_safetensors(path, what="method's weights")
    return header, dict(tensors)


Tensors = Mapping[str, torch.Tensor]


def near(first: Tensors, second: Tensors, by: float) -> bool:
    assert first.keys() == second.keys()
    return all(float((first[k].float() - second[k].float()).abs().max()) <= by for k in first)


def apart(first: Tensors, second: Tensors, began: Tensors) -> float:
    """How far apart two runs ended, as a share of how far the first went."""
    assert first.keys() == second.keys()
    both, way = (
        sum(float((first[k].float() - other[k].float()).square().sum()) for k in first) for other in (second, began)
    )
    assert way > 0
    return float((both / way) ** 0.5)


# ----------------------------------------------------------------------------------------------------------- corpora


@pytest.fixture
def toy_folder(tmp_path: Path) -> Path:
    """Two development toys as a folder of pictures with captions and masks, and one file that is none."""
    from limner.pocket import judges
    from limner.pocket.subjects import toy

    for kind, seed in (("dog", 1_000_107), ("car", 1_000_108)):
        place = tmp_path / "corpus" / kind
        place.mkdir(parents=True)
        shown = toy(kind, seed, count=2)
        for k, (one, mask) in enumerate(zip(shown.pictures, judges.masks(shown.tensor(128)), strict=True)):
            assert one.image is not None
            one.image.save(place / f"{k}.png")
            (place / f"{k}.txt").write_text(f"a {kind} in place {k}")
            Image.fromarray(((mask > 0.5).byte() * 255).numpy()).save(place / f"{k}.mask.png")
    (tmp_path / "corpus" / "car" / "9.png").write_bytes(b"broken")
    return tmp_path / "corpus"


def test_weights_are_trained_on_a_users_folder_and_say_so(
    base: Any, toy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "pretrain",
        "ip_adapter",
        "--corpus",
        toy_folder,
        "--steps",
        2,
        "--batch",
        2,
        "--run",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr()
    assert "4 pictures of 2 subjects, 4 captions, 4 masks" in said.err
    assert "left out, 1: 1 cannot be read" in said.err
    header, tensors = weights(Path(said.out.strip()))
    assert header["corpus"]["left_out"] == {"cannot be read": 1}
    assert header["corpus"]["pictures"] == 4
    assert (header["updates"], header["seed"], header["settings"]["batch"]) == (2, 0, 2)
    assert len(header["losses"]) == 2
    assert header["versions"]["torch"] == torch.__version__
    assert header["fingerprint"] == base.fingerprint
    assert not any("features" in name for name in tensors)
    assert limner.core.weights.shipped("ip_adapter", base).keys() == tensors.keys()


def test_all_sources_of_a_stage_are_put_on_the_corpus_and_those_shared_stay_shared(base: Any) -> None:
    ready = prepared("ip_adapter", base=base, given={})
    (stage,) = ready.stages
    twice = replace(stage, loss=(stage.loss[0], replace(stage.loss[0], name="again")))
    found = over((stage, twice), toys(2))
    sources = {term.source for one in found for term in one.loss}
    assert len(sources) == 1
    assert stage.loss[0].source not in sources
    own = replace(stage.loss[0], source=replace(stage.loss[0].source, name="renders", over=None))
    with pytest.raises(InputError, match="renders, which no other corpus can replace"):
        over((replace(stage, loss=(own,)),), toys(2))


def test_a_corpus_without_masks_is_an_error_for_what_wants_masks(base: Any, toy_folder: Path) -> None:
    from limner.data.corpora import corpus
    from limner.parts.sources import pairs

    (toy_folder / "dog" / "0.mask.png").unlink()
    with pytest.raises(InputError, match="masks for 3 of 4"):
        pairs(ground="swapped", corpus=corpus(str(toy_folder))).prepare(base)


# ------------------------------------------------------------------------------------------------ parts of a batch


def test_shares_are_equal_blocks_and_together_everything() -> None:
    rows = [row for k in range(3) for row in Share(k, 3).rows(12)]
    assert rows == list(range(12))
    with pytest.raises(InputError, match="multiple of 5"):
        Share(0, 5).rows(12)
    with pytest.raises(InputError, match="multiple of 4"):
        Share(0, 4).rows(2)


def test_a_share_of_a_batch_takes_its_rows_of_everything() -> None:
    shown = References(
        torch.arange(4.0).view(4, 1, 1, 1, 1), captions=(("a",), ("b",), ("c",), ("d",)), nouns=tuple("wxyz")
    )
    batch = Batch(torch.arange(4.0).view(4, 1, 1, 1), tuple("abcd"), weight=torch.arange(4.0), references=shown)
    part = Share(1, 2).of(batch)
    assert part.latents.flatten().tolist() == [2, 3]
    assert (part.prompts, part.references.nouns, part.references.captions) == (("c", "d"), ("y", "z"), (("c",), ("d",)))  # type: ignore[union-attr]
    assert part.weight is not None
    assert part.weight.tolist() == [2, 3]
    assert Share().of(batch) is batch


def run_of(base: Any, *, accumulate: int = 1, **manner: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
    ready = prepared("ip_adapter", base=base, manner=Manner(precision="float32", **manner), given=SMALL)
    losses, last = [], None
    for progress in train(base, Adapter(ready.recipe, "<nobody>"), stages=ready.stages, spread=Spread(accumulate)):
        losses.append(progress.loss)
        last = progress.snapshot().learned
    assert last is not None
    return last, losses


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_teaches_what_the_whole_batch_teaches(base: Any, parts: int) -> None:
    """In single precision, after four updates at a thousandth: equal but for rounding."""
    whole, losses = run_of(base)
    found, again = run_of(base, accumulate=parts)
    assert again == pytest.approx(losses, rel=1e-4)
    assert apart(whole, found, start_of(base)) < 0.01


def start_of(base: Any) -> dict[str, torch.Tensor]:
    from limner.engine.attach import attach

    ready = prepared("ip_adapter", base=base, given=SMALL)
    with attach(base, (Adapter(ready.recipe, "<nobody>"),)) as adapted:
        return {name: tensor.detach().clone() for name, tensor in adapted.tensors.items()}


def test_a_searched_stage_is_not_computed_in_parts(base: Any, rex: Any) -> None:
    recipe = find("gradient_free_ti")(rex)
    with pytest.raises(InputError, match="searched without gradients"):
        next(train(base, Adapter(recipe, rex.handle), stages=recipe.tuning, spread=Spread(2)))
    assert untouched(base)


# --------------------------------------------------------------------------------------------------- running means


def test_what_ships_is_the_running_mean(base: Any) -> None:
    """Against the mean written out: it keeps min(ema, (1 + n) / (10 + n)) of itself at update n."""
    ready = prepared("ip_adapter", base=base, manner=Manner(ema=0.9, precision="float32"), given=SMALL)
    mean = start_of(base)
    for n, progress in enumerate(train(base, Adapter(ready.recipe, "<nobody>"), stages=ready.stages)):
        keeps = min(0.9, (1 + n) / (10 + n))
        point = progress.snapshot()
        if not progress.last:
            raw = point.tensors
            for name in raw:
                mean[name] = keeps * mean[name] + (1 - keeps) * raw[name]
            learning = [name for name in raw if MEAN + name in point.moments]
            assert learning
            assert near({k: point.learned[k] for k in learning}, {k: mean[k] for k in learning}, by=1e-6)
            assert any(not torch.equal(raw[k], point.learned[k]) for k in learning)
        else:
            assert same({k: point.tensors[k] for k in learning}, {k: point.learned[k] for k in learning})


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0])
def test_a_senseless_mean_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"from 0 \(none\) to below 1"):
        Manner(ema=value)


@pytest.mark.parametrize("ema", [0.0, 0.999])
def test_half_precision_is_a_choice_and_near(base: Any, tmp_path: Path, ema: float) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        manner = Manner(precision=precision, ema=ema)  # type: ignore[arg-type]
        path = pretrain("ip_adapter", base=base, run=tmp_path / precision, manner=manner, steps=1, batch=2)
        header, _ = weights(path)
        assert (header["precision"], header["ema"]) == (precision, ema)
        losses[precision] = header["losses"][0]
    assert losses["float32"] != losses["bfloat16"]
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.05)
    with pytest.raises(InputError, match="bfloat16 or float32"):
        Manner(precision="float16")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- resuming


class Stop(Exception):
    pass


def stop_at(done: int) -> Callable[[Any], None]:
    def watch(progress: Any) -> None:
        if progress.done == done:
            raise Stop

    return watch


def test_interrupted_it_resumes_to_the_same_bits_with_parts_and_running_means(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limner.engine.checkpoint, "CHECKPOINT_SECONDS", 0.0)
    manner = Manner(2, 0.9, "float32")
    about = {"base": base, "manner": manner, **SMALL}
    whole = weights(pretrain("ip_adapter", run=tmp_path / "whole", **about))
    with pytest.raises(Stop):
        pretrain("ip_adapter", run=tmp_path / "cut", watch=stop_at(3), **about)
    assert (tmp_path / "cut" / limner.engine.checkpoint.CHECKPOINT).exists()
    with pytest.raises(FileError, match="its precision differ"):
        pretrain("ip_adapter", run=tmp_path / "cut", **{**about, "manner": Manner(2, 0.9, "bfloat16")})
    with pytest.raises(FileError, match="its corpus differ"):
        pretrain("ip_adapter", run=tmp_path / "cut", corpus="toys:3", **about)
    seen: list[int] = []
    cut = weights(pretrain("ip_adapter", run=tmp_path / "cut", watch=lambda p: seen.append(p.done), **about))
    assert seen == [3, 4]
    assert same(whole[1], cut[1])
    assert whole[0]["losses"] == cut[0]["losses"]
    assert untouched(base)


# ------------------------------------------------------------------------------------------------------- previews


@pytest.mark.sweep
def test_previews_are_painted_scored_and_change_nothing(base: Any, tmp_path: Path) -> None:
    from limner.workflows.previews import PROMPTS, previews

    before = state(base)
    plain = weights(pretrain("ip_adapter", base=base, run=tmp_path / "plain", **SMALL))
    ready = prepared("ip_adapter", base=base, given=SMALL)
    watch = previews(find("ip_adapter"), ready.settings, base="pocket", folder=tmp_path / "run", every=3)
    told: list[int] = []
    watch.shown = lambda done, scores, sheet: told.append(done)
    looked = weights(pretrain("ip_adapter", base=base, run=tmp_path / "run", watch=watch, **SMALL))
    assert same(plain[1], looked[1])
    assert plain[0]["losses"] == looked[0]["losses"]
    assert same(state(base), before)
    looks = json.loads((tmp_path / "run" / "previews.json").read_text())
    assert [look["done"] for look in looks] == told == [3, 4]
    assert all({"identity", "clip_t", "loss"} <= look.keys() for look in looks)
    sheet = open_image(tmp_path / "run" / "preview-000004.png")
    assert sheet.width > 3 * sheet.height
    assert len(PROMPTS) == 4


@pytest.mark.sweep
def test_a_preview_shows_what_the_finished_weights_paint(base: Any, tmp_path: Path) -> None:
    """The last preview is what `paint` makes of the weights once they are shipped (but for half precision)."""
    from limner.workflows.previews import PROMPTS, STEPS, previews

    ready = prepared("ip_adapter", base=base, given=SMALL)
    watch = previews(find("ip_adapter"), ready.settings, base="pocket", folder=tmp_path / "run", every=100)
    seen: list[Any] = []
    real = watch.painted
    watch.painted = lambda progress: seen.append(real(progress)) or seen[-1]  # type: ignore[method-assign, func-returns-value]
    pretrain("ip_adapter", base=base, run=tmp_path / "run", watch=watch, **SMALL)
    concept = limner.learn(base, watch.subject, method="ip_adapter")
    prompts = [prompt.format(watch.subject.handle) for prompt in PROMPTS]
    painted = limner.paint(base, prompts, concepts=[concept], settings=limner.PaintSettings(steps=STEPS, batch=4))
    for mine, theirs in zip(seen[-1], painted, strict=True):
        first, second = (torch.from_numpy(np.array(image, dtype=np.float32)) for image in (mine, theirs.image))
        assert float((first - second).abs().mean()) < 3


def test_previews_on_another_base_need_a_subject(tmp_path: Path) -> None:
    from limner.workflows.previews import previews

    with pytest.raises(InputError, match="--preview-of"):
        previews(find("ip_adapter"), {}, base="sd", folder=tmp_path, every=3)
    with pytest.raises(InputError, match="1 or more"):
        previews(find("ip_adapter"), {}, base="pocket", folder=tmp_path, every=0)


# ------------------------------------------------------------------------------------------------------- trackers


class Writer:
    """A tracker's library, listening."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.told: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **named: self.told.append((name, given, named))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_trackers_are_told_losses_and_previews(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.workflows.trackers import tracker

    made = Writer()
    fake = types.SimpleNamespace(
        SummaryWriter=lambda folder: made, init=lambda **named: made, Image=lambda image: image
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else "wandb", fake)  # type: ignore[misc]
    following = tracker(name, folder=tmp_path, about={"method": "ip_adapter"})
    following(types.SimpleNamespace(losses={"denoising": 0.5}, loss=0.5, eta=3.0, done=7))  # type: ignore[arg-type]
    following.shown(7, {"identity": 0.4}, Image.new("RGB", (8, 8)))
    following.close()
    calls = repr(made.told)
    assert all(word in calls for word in ("denoising", "0.5", "identity", "0.4", "7"))
    assert made.told[-1][0] in ("close", "finish")


def test_a_missing_tracker_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.workflows.trackers import tracker

    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for name in ("wandb", "tensorboard"):
        with pytest.raises(MissingExtra, match=rf"pip install limner\[{name}\]"):
            tracker(name, folder=tmp_path, about={})
    with pytest.raises(UnknownName, match="did you mean 'wandb'"):
        tracker("wanb", folder=tmp_path, about={})


def test_tensorboard_writes_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    words = [
        "pretrain",
        "ip_adapter",
        "--track",
        "tensorboard",
        "--preview-every",
        2,
        "--run",
        tmp_path,
        "--device",
        "cpu",
    ]
    assert main([str(word) for word in [*words, "--steps", 2, "--batch", 2]]) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()  # type: ignore[no-untyped-call]
    assert [e.step for e in events.Scalars("loss")] == [1, 2]  # type: ignore[no-untyped-call]
    assert events.Scalars("preview/identity")[0].step == 2  # type: ignore[no-untyped-call]
    assert "preview" in events.Tags()["images"]  # type: ignore[no-untyped-call]


# ------------------------------------------------------------------------------------------------- several processes

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from dataclasses import replace
from limner.pocket import capabilities, corpus as toys
from limner.workflows.pretrain import Manner, prepared, trained
from limner.engine.parallel import spread

torch.set_num_threads(1)
out, accumulate = Path(sys.argv[1]), int(sys.argv[2])
capabilities.CAPABILITIES = replace(capabilities.CAPABILITIES, weights=out)
toys.INDIVIDUALS = 4
over = spread(accumulate)
ready = prepared("ip_adapter", manner=Manner(accumulate, 0.9, "float32"), spread=over, given={"steps": 4, "batch": 4})
losses, held = [], []
def watch(progress):
    losses.append(progress.losses)
    parameters = [getattr(p, "to_local", lambda p=p: p)() for p in progress.adapted.base.module("denoiser").parameters()]
    held.append(sum(p.numel() for p in parameters))
path = trained(ready, run=out / "run", watch=watch)
(out / f"losses-{over.rank}.json").write_text(json.dumps([over.processes, losses, held[-1]]))
"""


def launched(
    out: Path, processes: int, *, accumulate: int = 1, **more: str
) -> tuple[list[Any], int, dict[str, torch.Tensor]]:
    """The losses every process saw, and the weights."""
    out.mkdir()
    script = out / "run.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(processes),
        "--master-port",
        str(port),
    ]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **more}
    launcher = command if processes > 1 else command[:1]  # one process needs none
    done = subprocess.run(
        [*launcher, script, out, str(accumulate)], env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads((out / f"losses-{rank}.json").read_text()) for rank in range(processes)]
    assert all(count == processes for count, _, _ in told)
    return [losses for _, losses, _ in told], max(held for *_, held in told), weights(out / "ip_adapter.safetensors")[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], int, dict[str, torch.Tensor]]:
    return launched(tmp_path_factory.mktemp("alone") / "one", 1)


FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
"""Environment that `accelerate launch --use_fsdp --fsdp_version 2` gives its processes."""


@pytest.mark.parametrize(
    ("accumulate", "sharded"),
    [
        pytest.param(1, {}, id="ddp", marks=pytest.mark.sweep),
        pytest.param(2, {}, id="ddp in parts", marks=pytest.mark.sweep),
        pytest.param(1, FSDP, id="fsdp", marks=pytest.mark.sweep),
    ],
)
def test_two_processes_learn_what_one_learns(
    alone: Any, base: Any, tmp_path: Path, accumulate: int, sharded: dict[str, str]
) -> None:
    """Each takes half of every batch: the losses and the weights are those of one process, but for rounding. With FSDP,
    each holds half of the base."""
    (one,), all_of_it, whole = alone
    (first, second), held, found = launched(tmp_path / "two", 2, accumulate=accumulate, **sharded)
    assert first == second
    for mine, theirs in zip(one, first, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)
    began = {name: tensor for name, tensor in start_of(base).items() if name in whole}
    assert apart(whole, found, began) < 0.05  # half precision, in which weights are kept, is most of it
    assert held == pytest.approx(all_of_it / 2 if sharded else all_of_it, rel=0.01)


# ------------------------------------------------------------------------------------------------------- wrong bases


def test_weights_of_another_base_are_refused(
    base: Any, rex: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pretrain("ip_adapter", base=base, run=tmp_path / "run", steps=1, batch=2)
    limner.learn(base, rex, method="ip_adapter")
    other = types.SimpleNamespace(name="pocket", fingerprint="another", capabilities=base.capabilities)
    tensors = weights(path)[1]
    limner.core.weights.save_weights("ip_adapter", other, tensors, about={})  # type: ignore[arg-type]
    with pytest.raises(WrongBase, match="trained for a base with fingerprint another"):
        limner.learn(base, rex, method="ip_adapter")
