"""The help has examples, and shells complete commands, options and their values."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.arguments import parser
from tests.unit.cli.commands import run


def commands(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """All commands below a parser."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


@pytest.mark.parametrize("command", list(commands(parser())), ids=lambda command: command.prog)
def test_the_examples_of_each_command_are_valid(command: argparse.ArgumentParser) -> None:
    _, *examples = str(command.epilog).splitlines()
    assert examples
    for example in examples:
        words = shlex.split(example.replace("<(", " ").replace(")", " "), comments=True)
        arguments = words[words.index("captiond") + 1 :]
        if ">" in arguments:
            arguments = arguments[: arguments.index(">")]

        parsed = parser().parse_args(arguments)

        assert " ".join(["captiond", parsed.command, getattr(parsed, "action", "")]).startswith(command.prog)


def test_the_help_is_in_the_language_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPTIOND_LANGUAGE", "ru")

    assert run("caption", "--help") == 0

    said = capsys.readouterr().out
    for words in ("Подписывает файлы в этом процессе", "выводить по объекту JSON", "показать эту справку", "примеры:"):
        assert words in said


def completions(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash offers for the last of some words."""
    assert run("completion", "bash") == 0
    script = capsys.readouterr().out
    count = len(words.split(" "))
    script += f"""
COMP_WORDS=({words}); [[ "{words}" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD={count - 1}
_shtab_captiond captiond
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    command = ["bash", "--norc", "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("captiond ", {"serve", "batch", "watch", "completion"}),
        ("captiond batch --emb", {"--embed"}),
        ("captiond batch --existing ", {"skip", "overwrite", "append", "prepend"}),
        ("captiond keys ", {"add", "revoke", "list"}),
        ("captiond completion ", {"bash", "zsh"}),
        ("captiond caption ph", {"photo.jpg"}),
        ("captiond watch in", {"inbox"}),
    ],
)
def test_bash_completes(words: str, offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "inbox").mkdir()

    assert offered <= set(completions(words, tmp_path, capsys))


def test_zsh_gets_a_script_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", "zsh") == 0

    assert capsys.readouterr().out.startswith("#compdef captiond\n")
