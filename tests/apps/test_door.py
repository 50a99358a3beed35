"""How commands end: one line for what is expected, a report for the rest, quiet where nobody reads."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.apps import door
from limner.apps.cli.main import main
from limner.core.offline import Offline, staying_offline
from limner.errors import FileError, InputError

SOURCE = Path(limner.__file__).parent.parent


def run(*words: object) -> int:
    return main([str(word) for word in words])


def one_line(text: str) -> str:
    """The message of a command that failed: one line, and no traceback."""
    lines = [line for line in text.splitlines() if line.startswith("limner:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("learn x --meth X", "no flag --meth; did you mean --method?"),
        ("learn x --goa best", "no flag --goa; did you mean --goal?"),
        ("learn x --method dreambooth --method svdiff", "--method: given twice"),
        ("paint x --with a --with b", "--with: given twice; give all its values after one"),
        ("score x -n 0", "1 or more, not '0'"),
        ("paint x --steps 0", "1 or more, not '0'"),
        ("paint x --device tpu", "expected cpu or cuda"),
        ("learn x --fit nan", "expected gigabytes"),
        ("learn x --hold-out -1", "0 or more, not '-1'"),
        ("learn x --preview -1", "0 or more, not '-1'"),
        ("paint a dog", "'dog' is one word too many"),
        ("bogus", "invalid choice"),
        ("learn x --resolution 512", "its own size"),
        ("learn x --lr_scheduler cosine", "--lr"),
        ("learn x --gradient_accumulation_steps 4", "--batch"),
        ("learn x --method dreambooth --network_dim 8", "dreambooth has no setting --rank; these methods have:"),
        ("learn x --method dreambooth --rank 8", "lora_dreambooth"),
    ],
)
def test_a_command_typed_wrong_is_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words.split()) == door.USAGE
    found = capsys.readouterr()
    assert said in one_line(found.err) or said in found.err.splitlines()[-1]
    assert not found.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("learn x --slots 2", "--slots is for many subjects"),
        ("learn x --mixed", "--mixed is for many subjects"),
        ("bench --methods dreambooth:steps=abc", "steps of dreambooth must be a whole number, not 'abc'"),
        ("bench --methods dreambooth:lr=abc", "lr of dreambooth must be a number"),
        ("bench --methods base+alone --data dreambench", "needs its folder: say --where folder=PATH"),
        ("bench --methods base+alone --data dreambench --where place=x", "has no argument 'place'"),
        ("paint x --device cuda:99", "no CUDA device here"),
        ("paint x --device xpu", "there is no device 'xpu' here"),
        ("report nowhere.json", "nowhere.json"),
    ],
)
def test_a_command_that_cannot_work_is_one_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run(*(word.replace("+", " ") for word in words.split())) == 1
    assert said in one_line(capsys.readouterr().err)


def test_a_cache_that_cannot_be_written_is_said_before_the_work_and_by_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("LIMNER_CACHE", str(place))
        assert run("paint", "a dog", "--out", tmp_path / "out") == 1
        assert "Set LIMNER_CACHE" in one_line(capsys.readouterr().err)
        assert run("doctor") == 1
        assert re.search(rf"BAD\s+cache\s+.*{re.escape(str(place))}", capsys.readouterr().out)
    assert not list((tmp_path / "out").glob("*.png"))
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "new" / "cache"))
    assert run("doctor") == 0


@pytest.mark.parametrize(
    "words",
    [
        ("paint", "a dog", "--out", "FILE"),
        ("export", "CONCEPT", "--to", "kohya", "--out", "FILE"),
        ("report", "results.json", "--out", "FILE/below.html"),
        ("demo", "--out", "FILE"),
    ],
    ids=lambda words: words[0],
)
def test_an_output_that_is_a_file_is_said_before_the_work(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("limner.bases.common.loading.load", lambda *_, **__: pytest.fail("the base is opened"))
    monkeypatch.setattr("limner.evaluation.report.read_results", lambda _: {"units": [1]})
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    told = [word.replace("FILE", str(tmp_path / "file")).replace("CONCEPT", str(tmp_path / "file")) for word in words]
    assert run(*told) == 1
    assert "is a file" in one_line(capsys.readouterr().err)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


# -------------------------------------------------------------------------------------------------------- expectations


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/etc/x"), "/etc/x: permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "x: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (MemoryError(), "the memory is used up"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "the memory is used up"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "Save it as UTF-8"),
        (ModuleNotFoundError("No module named 'rembg'", name="rembg"), "pip install rembg"),
        (RuntimeError("CUDA error: device-side assert triggered\nmore"), "the GPU failed"),
        (
            Offline("a connection to huggingface.co was attempted, and --offline forbids the network"),
            "--offline forbids",
        ),
    ],
)
def test_expected_failures_are_explained(error: Exception, said: str) -> None:
    line = door.explain(error)
    assert line is not None
    assert said in line
    assert "\n" not in line


def test_errors_of_the_hub_and_of_the_gpu_are_explained() -> None:
    import torch
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    assert "the hub cannot be reached" in str(
        door.explain(OfflineModeIsEnabled("Cannot reach https://x: offline\n  more"))
    )
    assert "the hub cannot be reached" in str(door.explain(LocalEntryNotFoundError("no such entry")))
    assert "--fit GB" in str(door.explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")))


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("y"), AssertionError(), ImportError("z"), RuntimeError("w")]
)
def test_faults_of_limner_are_none_of_them(error: Exception) -> None:
    assert door.explain(error) is None


def test_a_fault_is_a_short_report_with_the_whole_story_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        raise KeyError("a \x1b[31mname")

    assert door.run(fail, words=["paint", "a dog"]) == door.FAULT == 70
    told = capsys.readouterr().err
    assert "KeyError: 'a \\x1b[31mname'. This is a fault of limner" in told.replace("\\\\", "\\")
    assert "\x1b" not in told
    assert len(told.splitlines()) <= 7
    (file,) = tmp_path.glob("limner-error-*.txt")
    assert str(file) in told
    story = file.read_text(encoding="utf-8")
    assert 'command: limner paint "a dog"' in story
    assert "Traceback (most recent call last)" in story
    assert f"limner {limner.__version__}" in story


def test_an_error_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise FileError("one\ntwo \x1b[2Jthree")

    assert door.run(fail, words=[]) == 1
    assert capsys.readouterr().err == "limner: one two \\x1b[2Jthree\n"


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    assert door.run(stop, words=[]) == door.INTERRUPTED == 130
    assert "interrupted;" in one_line(capsys.readouterr().err)


# --------------------------------------------------------------------------------------------------------- the output

PRINTS = (
    "import sys; from limner.apps import door; "
    "sys.exit(door.run(lambda: [print(chr(0x2191) + ' ' + 'x' * 99) for _ in range({lines})], words=[]))"
)


def child(lines: int, *, out: Any, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PRINTS.format(lines=lines)], stdout=out, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("lines", [1, 5000])
def test_a_pipe_that_nobody_reads_ends_quietly(lines: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = child(lines, out=writing)
    os.close(writing)
    assert process.communicate()[1] == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("lines", [1, 5000])
def test_a_full_output_is_one_line(lines: int) -> None:
    with open("/dev/full", "wb") as full:
        process = child(lines, out=full)
    told = process.communicate()[1].decode()
    assert "the disk is full" in one_line(told)
    assert process.returncode == 1


def test_a_terminal_of_ascii_is_given_escapes() -> None:
    process = child(1, out=subprocess.PIPE, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    out, told = process.communicate()
    assert out.startswith(b"\\u2191 xxx")
    assert told == b""
    assert process.returncode == 0


# ---------------------------------------------------------------------------------------------------------- the network


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that anything wants to connect to or look up; none is reached."""
    wanted: list[Any] = []

    def refuse(*place: Any, **_: Any) -> Any:
        wanted.append(place)
        raise OSError("the tests reach no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return wanted


@pytest.mark.parametrize(
    "more",
    [
        ("--caption", "nobody/blip"),
        ("--segment", "nobody/clipseg"),
        ("--clip", "nobody/clip"),
        ("--base", "nobody/base"),
    ],
    ids=lambda more: more[0],
)
def test_offline_opens_no_socket(
    more: tuple[str, str], photos: Path, tmp_path: Path, no_network: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path / "out", "--method", "stylealigned"]
    assert run(*words, "--offline", *more) == 1
    assert more[1] in one_line(capsys.readouterr().err)
    assert no_network == []


def test_offline_is_over_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    with staying_offline():
        assert huggingface_hub.constants.HF_HUB_OFFLINE is True
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        with socket.socket() as here, pytest.raises(Offline, match="192.0.2.1"):
            here.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737)
        with pytest.raises(Offline, match=r"example\.invalid"):
            socket.getaddrinfo("example.invalid", 80)
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
    assert before == huggingface_hub.constants.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE" not in os.environ
    with socket.socket() as here:
        here.setblocking(False)
        assert here.connect_ex(("192.0.2.1", 9)) != 0  # refused by the network, no longer by limner


def test_publishing_without_a_network_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalTokenNotFoundError

    from limner.workflows.publish import check_account

    with staying_offline(), pytest.raises(InputError, match="switched off; --dry-run"):
        check_account("me/rex")

    class Nobody:
        error: Exception = LocalTokenNotFoundError("no token")

        def whoami(self) -> None:
            raise self.error

    monkeypatch.setattr(huggingface_hub, "HfApi", Nobody)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match="hf auth login"):
        check_account("me/rex")
    Nobody.error = ConnectionError("no route")
    with pytest.raises(InputError, match="cannot be reached"):
        check_account("me/rex")
