"""The arguments of the `captiond` command, its help and its completion in shells."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shtab

from cli.output import local
from common.keyring import Scope
from common.translation import Message, _

EXAMPLES = {
    "serve": """
  captiond serve
  captiond serve --port 9000 --data /var/lib/captiond
""",
    "caption": """
  captiond caption photo.jpg
  captiond caption *.jpg --n 3
  curl -s https://example.org/photo.jpg | captiond caption - --json
""",
    "batch": """
  captiond batch photos --recursive --out captions.jsonl
  captiond batch photos --sidecars .txt --template 'sks, {caption}' --existing append
  captiond batch photos --recursive --embed --alt-text
  captiond batch 's3://archive/*.jpg' --out captions.csv --url http://127.0.0.1:8080
  captiond batch photos --out captions.csv --url http://127.0.0.1:8080 --model blip-large
  captiond batch --manifest s3://archive/all.parquet --url http://127.0.0.1:8080
""",
    "watch": """
  captiond watch inbox --out captions.jsonl
  captiond watch inbox --recursive --xmp --url http://127.0.0.1:8080
  captiond watch /mnt/share --sidecars .txt --poll 10
""",
    "doctor": """
  captiond doctor
  captiond doctor --data /var/lib/captiond
""",
    "webhook-secret": """
  captiond webhook-secret
""",
    "keys": """
  captiond keys add alice
  captiond keys list
""",
    "keys add": """
  captiond keys add alice
  captiond keys add gallery --scope read
""",
    "keys revoke": """
  captiond keys revoke alice
""",
    "keys list": """
  captiond keys list
""",
    "completion": """
  source <(captiond completion bash)          # in ~/.bashrc
  captiond completion zsh > ~/.zfunc/_captiond    # a folder of $fpath
""",
}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    whole = _Parser(prog="captiond", description=local(_("Captions photographs.")))
    commands = whole.add_subparsers(dest="command", required=True)

    serve = _command(commands, "serve", _("run the whole service: Redis, a worker, the web server"))
    serve.add_argument("--host", help=_("address that the web server listens on (127.0.0.1)"))
    serve.add_argument("--port", type=int, help=_("port that the web server listens on (8080)"))
    serve.add_argument(
        "--insecure", action="store_const", const=True, help=_("let other machines use the service without API keys")
    )

    caption = _command(commands, "caption", _("caption files in this process, without the service"))
    files = caption.add_argument(
        "files", nargs="+", metavar="FILE", help=_("image file, URL (https://, s3:// …), or - for stdin")
    )
    caption.add_argument(
        "--n", type=int, choices=(1, 2, 3), default=1, help=_("captions of each image, best first (1)")
    )
    caption.add_argument("--json", action="store_true", help=_("print one JSON object per line"))

    batch = _command(commands, "batch", _("caption files and folders of any size; a run that was stopped goes on"))
    paths = batch.add_argument(
        "paths", nargs="*", metavar="PATH", help=_("file, folder, pattern or URL (s3://, https:// …)")
    )
    batch.add_argument(
        "--manifest", metavar="URL", help=_("let the service at --url caption a manifest of any size in its store")
    )
    _add_outputs(batch)
    batch.add_argument("--limit", type=int, metavar="N", help=_("caption at most so many images"))
    batch.add_argument("--dry-run", action="store_true", help=_("list what would be captioned, and change nothing"))

    watch = _command(commands, "watch", _("caption what is in folders and what arrives there, until it is stopped"))
    folders = watch.add_argument("paths", nargs="+", metavar="FOLDER", help=_("folder on this machine"))
    _add_outputs(watch)
    watch.add_argument(
        "--poll",
        type=float,
        metavar="SECONDS",
        help=_("list the folders so often, instead of relying on the file system's events: for network shares"),
    )

    doctor = _command(commands, "doctor", _("check a service and say what to fix"))

    secret = _command(commands, "webhook-secret", _("print the secrets that sign webhooks"))

    keys = _command(commands, "keys", _("create, revoke and list API keys"))
    actions = keys.add_subparsers(dest="action", required=True)
    add = _command(actions, "add", _("create a key and print it; it is shown only once"), group="keys")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--scope", action="append", choices=[*Scope], type=Scope, help=_("a scope (submit and read); repeatable")
    )
    revoke = _command(actions, "revoke", _("revoke a key"), group="keys")
    revoke.add_argument("name", metavar="NAME")
    listing = _command(actions, "list", _("list the keys' names and scopes"), group="keys")

    completion = _command(commands, "completion", _("print a script that completes this command in a shell"))
    completion.add_argument("shell", choices=("bash", "zsh"))

    for command in (serve, caption, batch, watch, doctor, secret, add, revoke, listing):
        data = command.add_argument(
            "--data", type=Path, help=_("folder for uploads, logs, weights, keys and Redis (./data)")
        )
        _complete(data, shtab.DIRECTORY)
    weights = _("auto, demo, a .pt file, a folder, or a hub id")
    weights_or_name = _("auto, demo, a .pt file, a folder, or a hub id; with --url, the name of the service's model")
    for command in (serve, caption, batch, watch, doctor):
        model = command.add_argument("--model", help=weights_or_name if command in (batch, watch) else weights)
        _complete(model, shtab.FILE)
    for argument in (files, paths):
        _complete(argument, shtab.FILE)
    _complete(folders, shtab.DIRECTORY)
    return whole


class _Parser(argparse.ArgumentParser):
    """A parser, as its subcommands are, whose help is in the language of the terminal.

    Only `usage:` and the errors stay in English, which argparse writes itself.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, **options)
        self._positionals.title, self._optionals.title = local(_("arguments")), local(_("options"))
        self.add_argument("-h", "--help", action="help", help=_("show this help, and exit"))

    def add_argument(self, *names: str, help: Message | None = None, **options: Any) -> argparse.Action:  # type: ignore[override]
        return super().add_argument(*names, help=local(help) if help else None, **options)


def _command(commands: argparse._SubParsersAction[_Parser], name: str, summary: Message, group: str = "") -> _Parser:
    text, heading = local(summary), local(_("examples:"))
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=heading + EXAMPLES[f"{group} {name}".strip()].rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_outputs(command: _Parser) -> None:
    """Add the arguments that `batch` and `watch` share."""
    command.add_argument("--recursive", action="store_true", help=_("with the subfolders of folders"))
    out = command.add_argument(
        "--out", type=Path, metavar="FILE", help=_("one file for all captions: .jsonl, .csv, .json")
    )
    command.add_argument("--sidecars", metavar="SUFFIX", help=_("a file beside each image, such as .txt or .caption"))
    command.add_argument(
        "--xmp",
        dest="sidecars",
        action="store_const",
        const=".xmp",
        help=_("XMP beside each image, as photo.jpg.xmp: a description and alternative text"),
    )
    command.add_argument("--embed", action="store_true", help=_("the same in the image files, through exiftool"))
    command.add_argument(
        "--existing",
        choices=("skip", "overwrite", "append", "prepend"),
        default="skip",
        help=_("what to do with a caption that is there already (skip)"),
    )
    command.add_argument(
        "--template",
        default="{caption}",
        help=_("text around each caption, such as {example}", example="'sks, {caption}'"),
    )
    command.add_argument(
        "--alt-text",
        action="store_true",
        help=_("write alternative text: a sentence of at most 125 characters, in XMP without a description"),
    )
    command.add_argument("--url", help=_("let the service at this URL caption, instead of this process"))
    command.add_argument("--key", help=_("API key for --url (default: the variable CAPTIOND_KEY)"))
    _complete(out, shtab.FILE)


def _complete(argument: argparse.Action, kind: shtab.CompleteType) -> None:
    """Say what shtab completes an argument with."""
    argument.complete = kind  # type: ignore[attr-defined]
