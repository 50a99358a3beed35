"""Conditions are read by concepts, by bases and by the server's networks; others are refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limner.apps.jobs.conditions import NONE, Networks, networks_for, read_by
from limner.apps.jobs.tables import Concept
from limner.bases.common.loading import facts_of
from limner.core.wording import listed
from limner.errors import InputError
from limner.workflows.requests import BaseChoice

POCKET = BaseChoice()


def concept(method: str, **header: Any) -> Concept:
    return Concept(name="rex", handle="<rex>", noun="dog", method=method, header={"method": method, **header})


def folder(place: Path, *, channels: int, own: int = 4) -> BaseChoice:
    """A base's folder, as far as its settings tell the conditions."""
    for part, settings in (("unet", {"in_channels": channels}), ("vae", {"latent_channels": own})):
        (place / part).mkdir(parents=True)
        (place / part / "config.json").write_text(json.dumps(settings))
    return BaseChoice(name=str(place))


def test_a_concept_reads_what_its_methods_cards_name() -> None:
    assert read_by(concept("photoswap")) == ("source", "mask")
    assert read_by(concept("textual_inversion")) == ()
    members = [{"method": "freecontrol"}, {"method": "uni_controlnet"}]
    assert set(read_by(concept("merged", members=members)) or ()) >= {"source", "edges"}
    assert read_by(concept("mine.py:method")) is None


def test_networks_are_added_where_nothing_else_reads_the_condition() -> None:
    networks = Networks({"edges": "/n/edges", "source": "/n/source"}, {"depth": "/n/depth"})
    guide = [concept("freecontrol")]
    assert networks_for(["edges", "source"], [], guide, POCKET, networks) == {"controls": {"edges": "/n/edges"}}
    depth = [concept("uni_controlnet")]
    assert networks_for([], ["depth"], depth, POCKET, networks) == {"estimators": {"depth": "/n/depth"}}
    # the base's own networks need no folder
    assert networks_for([], ["segmentation"], depth, POCKET, NONE) == {}


def test_a_condition_that_nothing_reads_is_refused_unless_nobody_knows(tmp_path: Path) -> None:
    computable = listed(("edges", "lines", "source", *facts_of("pocket").estimators))
    with pytest.raises(InputError, match=r"nothing reads the condition 'edges' among pocket, <rex>: they read none"):
        networks_for(["edges"], [], [concept("dreambooth")], POCKET, NONE)
    with pytest.raises(InputError, match=r"learned by uni_controlnet, or start the server .*--control edges=FOLDER"):
        networks_for(["edges"], [], [concept("photoswap")], POCKET, NONE)
    with pytest.raises(InputError, match="they read mask, source"):
        networks_for(["edges"], [], [], folder(tmp_path, channels=9), NONE)
    with pytest.raises(InputError, match="reads the condition 'mask' beside source"):
        networks_for(["source"], [], [], BaseChoice(name=str(tmp_path)), NONE)
    with pytest.raises(InputError, match=f"computes {computable} of a picture, not 'pose'"):
        networks_for([], ["pose"], [concept("photoswap")], POCKET, NONE)
    with pytest.raises(InputError, match="computes edges, lines, source of a picture, not 'depth'"):
        networks_for([], ["depth"], [], BaseChoice(name=str(tmp_path)), NONE)
    assert networks_for(["edges"], [], [concept("mine.py:method")], POCKET, NONE) == {}
