"""The commands' output: any file name, any locale, and readers that close the pipe early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.output import SIGPIPE_EXIT_CODE
from common.settings import PROJECT_ROOT, Settings
from tests.support.images import numbered
from tests.support.models import tiny_model, tiny_tokenizer


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, str]:
    """Environment variables of a command that uses a tiny model."""
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return Settings(data=tmp_path, model=str(folder), max_batch=2, max_length=8, precision="fp32").environment()


def run(
    *arguments: str | bytes, stdout: int = subprocess.PIPE, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env, cwd=PROJECT_ROOT, check=False)


@pytest.mark.parametrize("variables", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str)
def test_undecodable_bytes_of_a_file_name_are_printed_unchanged(
    tiny: dict[str, str], tmp_path: Path, variables: dict[str, str]
) -> None:
    folder = os.fsencode(tmp_path)
    names = [folder + b"/na\xefve.jpg", folder + "/Größe 写真.jpg".encode(), folder + b"/missing\xff.jpg"]
    for name, image in zip(names, numbered(2), strict=False):
        Path(os.fsdecode(name)).write_bytes(image)

    process = run("caption", *names, env=tiny | variables)

    assert process.returncode == 1, "one file is missing"
    lines = process.stdout.splitlines()
    assert [line.split(b"\t")[0] for line in lines] == names[:2]
    assert process.stderr.startswith(names[2] + b": The file cannot be read")


def test_a_character_that_the_locale_lacks_is_printed_as_an_escape() -> None:
    code = "from cli.output import output\nwith output():\n    print('Gr\\xf6\\u2026')"
    variables = os.environ | {"PYTHONIOENCODING": "latin-1"}

    printed = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, check=True).stdout

    assert printed == b"Gr\xf6\\u2026\n"


@pytest.mark.parametrize("command", ["doctor", "keys list", "caption"])
def test_a_closed_pipe_ends_the_command_silently(command: str, tiny: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"alice:read:{'0' * 64}\n")
    (tmp_path / "image.jpg").write_bytes(numbered(1)[0])
    arguments = [*command.split(), *([str(tmp_path / "image.jpg")] if command == "caption" else [])]
    read_end, write_end = os.pipe()
    os.close(read_end)

    process = run(*arguments, stdout=write_end, env=tiny)

    os.close(write_end)
    assert (process.returncode, process.stderr) == (SIGPIPE_EXIT_CODE, b"")


def test_a_closed_standard_output_is_no_error(tiny: dict[str, str]) -> None:
    command = f"exec {sys.executable} -m cli.main keys list >&-"

    process = subprocess.run(["sh", "-c", command], env=tiny, stderr=subprocess.PIPE, cwd=PROJECT_ROOT, check=False)

    assert (process.returncode, process.stderr) == (0, b"")
