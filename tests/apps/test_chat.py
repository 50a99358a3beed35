"""`limner chat`: a script of sentences to pictures, gone on with later."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.apps.cli.main import main
from limner.core.subject import Subject
from limner.workflows.converse import Conversation
from limner.workflows.requests import ConceptChoice, ConverseRequest
from limner.workflows.run import run
from tests.helpers import learn_fast, open_image


@pytest.fixture(scope="module")
def concept(base: Any, rex: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: limner.Concept = learn_fast(base, "lora_dreambooth", rex)
    return made.save(tmp_path_factory.mktemp("concept") / "rex.safetensors")


def chat(concept: Path, out: Path, *sentences: str, more: tuple[str, ...] = ()) -> int:
    script = out.parent / "script.txt"
    script.write_text("# a comment\n\n" + "\n".join(sentences) + "\n")
    words = ["chat", "--with", concept, "--script", script, "--out", out, "--steps", 2, "--preference-steps", 1, *more]
    return main([str(word) for word in words])


def test_a_script_paints_and_is_gone_on_with(concept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "chat"
    assert chat(concept, out, "rex on the beach", "give him a red hat", "undo", "turns", "quit", "at night") == 0
    shown = capsys.readouterr().out
    assert "[2] rex: a red hat" in shown
    assert "[1] picture 1 again" in shown
    assert "  2 (after 1): give him a red hat" in shown
    assert "at night" not in shown
    assert sorted(path.name for path in out.glob("*.png")) == ["000.png", "001.png"]
    assert chat(concept, out, "more like this", "undo", "put him in the snow", "yes, that is rex") == 0
    saved = json.loads((out / "conversation.json").read_text())
    conversation = Conversation.from_record(saved["conversation"])
    assert [turn.parent for turn in conversation.turns] == ["", "t1", "t1", "t1"]
    assert saved["concepts"] == ["rex-1.safetensors"]
    assert (out / "rex-1.safetensors").is_file()
    assert len(list((out / "references" / "rex").glob("*.png"))) == 1
    assert "limner" in open_image(out / "000.png").info
    capsys.readouterr()
    assert chat(concept, out, "a red cat", more=("--new", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert [turn["turn"] for turn in result["turns"]] == ["t1"]


def test_a_pipe_is_read_line_by_line(
    concept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("help\n\nrex on the beach\n"))
    assert main(["chat", "--with", str(concept), "--out", str(tmp_path / "chat"), "--steps", "1"]) == 0
    shown = capsys.readouterr().out
    assert "give him a red hat" in shown
    assert "[1] picture of <rex> on the beach" in shown


def test_a_request_answers_with_events(concept: Path, tmp_path: Path) -> None:
    choice = (ConceptChoice(path=concept),)
    first, last = run(ConverseRequest(words="rex on the beach", concepts=choice, steps=1, out=tmp_path / "chat"))
    assert first.record["event"] == "turn_done"
    record = first.record
    assert record["picture"] == str(tmp_path / "chat" / "000.png")
    assert record["state"]["scene"] == "on the beach"
    json.dumps(record)
    assert last.record["event"] == "run_done"
    # without the picture at hand, the turn is painted again to the same bits
    words = "give him a hat"
    again = ConverseRequest(
        words=words, concepts=choice, conversation=record["conversation"], steps=1, out=tmp_path / "chat"
    )
    assert ConverseRequest.from_json(again.to_json()) == again
    with_picture = ConverseRequest.from_json(json.dumps({**again.record, "pictures": {"t1": record["picture"]}}))
    hashes = {next(iter(run(each))).record["conversation"]["turns"][1]["sha256"] for each in (again, with_picture)}
    assert len(hashes) == 1


def test_mistakes_are_one_line(concept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "chat"
    assert chat(concept, out, "rex", more=("--llm", "http://127.0.0.1:9/v1", "--llm-model", "m", "--offline")) == 1
    assert "--offline" in capsys.readouterr().err
    assert chat(concept, out, "rex", more=("--llm-model", "m")) == 1
    assert chat(concept, out, "rex", more=("--photos", "rex")) == 1
    assert "NAME=FOLDER" in capsys.readouterr().err
    out.mkdir()
    (out / "conversation.json").write_text('{"conversation": {}, "pictures": {"t1": "../../x.png"}, "concepts": []}')
    assert chat(concept, out, "rex") == 1
    assert "no file of its folder" in capsys.readouterr().err
    (out / "conversation.json").write_text("[]")
    assert chat(concept, out, "rex") == 1
    assert "no conversation of limner" in capsys.readouterr().err
