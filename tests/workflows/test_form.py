"""Forms, tables and the quick estimate: from signatures and stored results, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from limner.core.subject import Subject
from limner.errors import UnknownName
from limner.library.settings import checked_settings
from limner.methods import find, methods
from limner.workflows import choose_method, form
from limner.workflows.choose_method import measured
from limner.workflows.form import compute_facts, fields_of, memory_of_method, methods_table, picture_seconds, tuned_by
from limner.workflows.quick_estimate import Speed, class_images, quick_estimate, store_speed, stored_speed, work

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL")


def test_forms_tables_and_estimates_load_nothing_heavy() -> None:
    script = f"""
import sys
from limner.workflows.form import fields_of, methods_table
from limner.workflows.quick_estimate import quick_estimate
from limner.workflows import controls, events, requests, run
rows = methods_table()
for row in rows:
    fields_of(row["name"])
for goal in ("fast", "balanced", "best"):
    quick_estimate(goal)
print(len(rows), [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(methods())} []"


def test_a_field_is_a_setting_of_the_signature() -> None:
    fields = {field.name: field for field in fields_of("lora_dreambooth")}
    assert list(fields) == list(checked_settings(find("lora_dreambooth"), {}))
    assert (fields["steps"].type, fields["steps"].default, fields["steps"].full_size_default) == ("int", 120, 500)
    assert (fields["steps"].least, fields["steps"].greatest) == (1, 1_000_000)
    assert fields["layers"].choices == ("attention", "everything")
    assert not fields["lr"].choices


def test_every_choice_of_a_field_is_allowed() -> None:
    choices = [(name, field, choice) for name in methods() for field in fields_of(name) for choice in field.choices]
    assert len(choices) > 20
    for name, field, choice in choices:
        function = find(name)
        function(Subject("<rex>", "dog"), **checked_settings(function, {field.name: choice}))


def test_the_stored_facts_are_those_of_the_recipes() -> None:
    rows = {row["name"]: row for row in methods_table()}
    for name in methods():
        computed = compute_facts(name)
        assert {key: rows[name][key] for key in ("framework", "together")} == {
            key: computed[key] for key in ("framework", "together")
        }, "run docs.generate"
        assert list(tuned_by(name)) == computed["tuned_by"]
    assert rows["dreambooth"]["measured"] == measured()["dreambooth"]


def test_updates_of_pretraining_are_not_those_of_a_subject() -> None:
    assert tuned_by("dreambooth") == ("steps", "lr")
    assert not tuned_by("ip_adapter")  # its steps and rate are those of its pre-training


def test_a_users_own_method_has_a_form_and_facts(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(Path(sys.modules[find("textual_inversion").__module__].__file__ or "").read_text())
    place = f"{file}:textual_inversion"
    assert [field.name for field in fields_of(place)] == [field.name for field in fields_of("textual_inversion")]
    assert form.facts_of_method(place) == {"framework": "test-time fine-tuning", "together": True}


def test_a_quick_estimate_is_the_measured_time_and_what_class_images_add() -> None:
    row, chosen = measured()["dreambooth"], checked_settings(find("dreambooth"), {})
    images = class_images(chosen)
    found = quick_estimate("best", method="dreambooth")
    assert images == chosen["num_class_pictures"] > 0
    assert found.seconds == pytest.approx(row["seconds"] + images * picture_seconds(), abs=0.06)
    assert found.between == pytest.approx((row["seconds"], found.seconds), abs=0.06)
    assert "was not measured yet" in found.basis
    assert found.memory_bytes == memory_of_method("dreambooth")
    assert not class_images({**chosen, "prior_weight": 0.0})
    without = quick_estimate("best", method="dreambooth", given={"prior_weight": 0.0, "steps": 40})
    assert without.seconds == pytest.approx(row["seconds"] / 2, abs=0.06)
    assert quick_estimate("best", method="dreambooth", budget=10).seconds == 10


def test_work_grows_with_updates_and_batch() -> None:
    chosen = checked_settings(find("dreambooth"), {})
    assert work("dreambooth", chosen) == 1
    assert work("dreambooth", {**chosen, "steps": 3 * chosen["steps"]}) == 3
    assert work("dreambooth", {**chosen, "batch": 2 * chosen["batch"]}) == 2


def test_a_quick_estimate_takes_this_machines_speed_where_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    rows = {"dreambooth": {"H": 0.9, "F": 0.9, "T": 0.9, "toys": 3, "seconds": 80.0, "bytes": 1}}
    monkeypatch.setattr(choose_method, "measured", lambda base="pocket": rows)
    monkeypatch.setattr("limner.workflows.quick_estimate.measured", lambda base="pocket": rows)
    assert stored_speed("pocket") is None
    # a second for each of 80 updates where it was measured, 2 and 8 here
    speed = Speed((2.0, 8.0, 4.0), (picture_seconds(),), "cpu")
    store_speed(speed, "pocket")
    assert stored_speed("pocket") == speed
    assert stored_speed("pocket", "cuda") is None
    found = quick_estimate("best", given={"prior_weight": 0.0})
    assert (found.method, found.seconds, found.between) == ("dreambooth", 320.0, (160.0, 640.0))
    assert "scaled by this machine's speed" in found.basis
    next(tmp_path.glob("speed-*.json")).write_text("{")  # damaged: as if it had not been measured
    assert stored_speed("pocket") is None


def test_an_estimate_has_the_seconds_of_what_follows_training_and_the_pace_of_earlier_ones() -> None:
    """The method without updates takes no time to train, and its scores and previews do."""
    found = quick_estimate("fast", pace=1.0)
    assert found.method == "ip_adapter"
    assert found.seconds == pytest.approx(0, abs=0.5)
    assert found.rest_seconds == pytest.approx(28 * picture_seconds(), abs=0.1)
    sampled = quick_estimate("fast", method="dreambooth", pace=1.0, sample_every=25)  # 80 updates: 3 samples
    slow = quick_estimate("fast", method="dreambooth", pace=3.0, sample_every=25)
    assert sampled.rest_seconds == pytest.approx((28 + 3 * 0.8) * picture_seconds(), abs=0.1)
    assert sampled.whole_seconds is not None
    assert slow.whole_seconds == pytest.approx(3 * sampled.whole_seconds, abs=0.3)
    assert "times 3 as the last trainings here took" in slow.basis
    assert quick_estimate("balanced", base="org/real-base").whole_seconds is None


def test_what_was_not_measured_has_no_seconds_and_a_reason() -> None:
    found = quick_estimate("balanced", base="org/real-base")
    assert found.seconds is None
    assert "was not measured on org/real-base" in found.basis
    with pytest.raises(UnknownName, match="goal"):
        quick_estimate("perfect")
    with pytest.raises(UnknownName, match="setting"):
        quick_estimate("best", given={"stepz": 3})


def test_the_facts_are_json_with_a_row_for_every_method() -> None:
    assert set(methods()) <= set(json.loads(form.FACTS.read_text(encoding="utf-8")))
