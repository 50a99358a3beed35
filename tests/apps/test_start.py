"""Commands and the server start without torch, which takes seconds to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "assert 'torch' not in sys.modules, 'torch was imported'"


@pytest.mark.parametrize(
    "code",
    [
        "from limner.apps.cli.main import _parser; _parser(['studio']).parse_args(['studio'])",
        "from limner.apps.api.config import Config; from limner.apps.api.app import create_app; from pathlib import Path; "
        "create_app(Config(data=Path('nowhere')))",
    ],
    ids=["command line", "server"],
)
def test_torch_is_not_imported(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}\n{WITHOUT}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
