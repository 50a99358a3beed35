"""How a command ends. Every expected failure is one line; any other failure becomes a report that can be sent.

Exit codes: 0 success; 1 an expected error, explained in one line, or an output that nobody reads any more; 2 wrong
usage of the command; 70 a fault of limner (EX_SOFTWARE of sysexits.h); 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from limner import __version__
from limner.core.escaping import shell_word, terminal_text
from limner.core.files import why_not
from limner.core.interrupts import interrupted
from limner.errors import InputError, LimnerError

USAGE, FAULT, INTERRUPTED = 2, 70, 130
LAST_LINES = 3
"""Number of the traceback's last frames that are shown on the terminal."""


class UsageError(InputError):
    """The command was typed wrong."""


def run(work: Callable[[], object], *, words: Sequence[str]) -> int:
    """Run a command's work, print how it failed where it did, and return the exit code."""
    _write_anything()
    try:
        code = _run(work, words)
    finally:
        gone = _flush()
    return gone if gone and not code else code


def _run(work: Callable[[], object], words: Sequence[str]) -> int:
    try:
        work()
    except UsageError as error:
        tell(error)
        return USAGE
    except LimnerError as error:
        tell(error)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        tell(interrupted())
        return INTERRUPTED
    except BrokenPipeError as error:
        if _is_a_workers(error):
            tell(f"a worker process has ended: {_first_line(error)}")
        _silence()
        return 1
    except Exception as error:
        line = explain(error)
        if line is None:
            return _report(error, words)
        tell(line)
        return 1
    return 0


def tell(message: object) -> None:
    """Print one line on the terminal's error stream, without control characters and line breaks."""
    print("limner:", terminal_text(" ".join(str(message).split())), file=sys.stderr)


def explain(error: BaseException) -> str | None:
    """Return one line about a failure that limner expects but does not raise itself: a failure of the system, the
    memory, the hub or a text's encoding, or a missing library. Return None for any other, which is a fault of
    limner."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    text = _first_line(error)
    if isinstance(error, MemoryError) or "torch.OutOfMemoryError" in kinds or _is_memory(error, text):
        return (
            "the memory is used up; take a smaller --batch or --dtype bfloat16, or let --fit GB choose how the base "
            "is opened "
            f"({text})"
        )
    if any(kind.startswith(("huggingface_hub.", "httpx", "requests.")) for kind in kinds):
        return f"the hub cannot be reached: {text}. Give folders on this machine, or try again with the network"
    if "torch.AcceleratorError" in kinds or (isinstance(error, RuntimeError) and text.startswith("CUDA error")):
        return f"the GPU failed: {text}. Try again, or with --device cpu"
    if isinstance(error, UnicodeError):
        return f"a text cannot be read or written in its encoding: {text}. Save it as UTF-8"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("limner"):
        return f"{error.name} is needed for this and not installed: pip install {error.name.partition('.')[0]}"
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _of_the_system(error: OSError) -> str:
    if error.filename is None:
        return _first_line(error) if error.errno is None else why_not(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{error.filename}: permission denied"
    return f"{error.filename}: {error.strerror or _first_line(error)}"


def _is_memory(error: BaseException, text: str) -> bool:
    signs = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")
    return isinstance(error, RuntimeError | OSError) and any(sign in text for sign in signs)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


# ----------------------------------------------------------------------------------------------------------- the output


def _write_anything() -> None:
    """Print the escape of a character that the terminal cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if hasattr(stream, "reconfigure") and encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")


def _flush() -> int:
    """Flush the output. Return 1 where that fails: silently when nobody reads the output, with a message when the disk
    is full."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return 1
    except OSError as error:
        _silence()
        tell(f"the output cannot be written: {why_not(error)}")
        return 1
    return 0


def _is_a_workers(error: BrokenPipeError) -> bool:
    """Whether the broken pipe led to a worker process, rather than from the output to its reader."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return modules[-1].startswith(("multiprocessing", "subprocess", "concurrent", "ray"))


def _silence() -> None:
    """Discard the rest of the output, so that the interpreter does not complain about it when it exits."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        # the output is not a file of the operating system
        return
    void = os.open(os.devnull, os.O_WRONLY)
    os.dup2(void, number)
    os.close(void)


# -------------------------------------------------------------------------------------------------- a fault of limner's


def _report(error: Exception, words: Sequence[str]) -> int:
    """Write a report of the fault to a file, and print where the file is."""
    lines = traceback.format_exception(error)
    command = " ".join(["limner", *map(shell_word, words)])
    about = [
        f"limner {__version__}, python {platform.python_version()}, {platform.platform()}",
        *(f"{name} {version}" for name, version in _libraries().items()),
        f"command: {command}",
        "",
        *lines,
    ]
    tell(f"{type(error).__name__}: {_first_line(error)}. This is a fault of limner, not yours")
    shown = [line for line in "".join(lines).splitlines() if line.startswith("  File ")][-LAST_LINES:]
    for line in shown:
        print(f"  {terminal_text(line.strip())}", file=sys.stderr)
    try:
        path = _written("\n".join(about))
    except OSError as problem:
        print(f"  (the report cannot be written: {why_not(problem)})", file=sys.stderr)
        return FAULT
    print(f"  limner {__version__}; command, versions and the whole traceback are in {path}", file=sys.stderr)
    print("  Please open an issue where you got limner from, with that file (it names files of yours)", file=sys.stderr)
    return FAULT


def _written(text: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=time.strftime("limner-error-%Y%m%d-%H%M%S-"), suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


def _libraries() -> dict[str, str]:
    """Versions of the loaded libraries."""
    names = ("torch", "diffusers", "transformers", "safetensors", "huggingface_hub", "PIL", "numpy")
    return {name: str(getattr(sys.modules[name], "__version__", "?")) for name in names if name in sys.modules}
