"""Few pictures and small batches, so that every stage of training can be run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from training.pocket import autoencoder, data, denoiser, judges


@pytest.fixture(autouse=True, scope="module")
def few_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_DEV", 32)
        patch.setattr(data, "NUM_PEOPLE", 8)
        for stage in (autoencoder, denoiser, judges):
            patch.setattr(stage, "BATCH", 8)
        yield
