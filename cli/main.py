"""The `captiond` command: parses arguments and runs the subcommand."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from cli.output import local, output, warn
from common import folders
from common.folders import FolderError
from common.keyring import Scope
from common.settings import Settings, SettingsError, variable

BATCH_EXAMPLES = """examples:
  captiond batch photos --recursive --out captions.jsonl
  captiond batch photos --sidecars .txt --template 'sks, {caption}' --existing append
  captiond batch 's3://archive/*.jpg' --out captions.csv --url http://127.0.0.1:8080
"""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with 0 for success, 1 for a failure, 2 for wrong arguments or settings."""
    with output():
        sys.exit(_main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="captiond", description="Captions photographs.")
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="run the whole service: Redis, a worker, the web server")
    serve.add_argument("--host", help="address that the web server listens on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port that the web server listens on (8080)")
    serve.add_argument(
        "--insecure", action="store_const", const=True, help="let other machines use the service without API keys"
    )

    caption = commands.add_parser("caption", help="caption files in this process, without the service")
    caption.add_argument("files", nargs="+", metavar="FILE", help="image file, URL (https://, s3:// …), or - for stdin")
    caption.add_argument("--n", type=int, choices=(1, 2, 3), default=1, help="captions of each image, best first (1)")
    caption.add_argument("--json", action="store_true", help="print one JSON object per line")

    batch = commands.add_parser(
        "batch",
        help="caption files and folders of any size; a run that was stopped goes on",
        epilog=BATCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    batch.add_argument("paths", nargs="+", metavar="PATH", help="file, folder, pattern or URL (s3://, https:// …)")
    batch.add_argument("--recursive", action="store_true", help="with the subfolders of folders")
    batch.add_argument("--out", type=Path, metavar="FILE", help="one file for all captions: .jsonl, .csv or .json")
    batch.add_argument("--sidecars", metavar="SUFFIX", help="a file beside each image, such as .txt or .caption")
    batch.add_argument(
        "--xmp",
        dest="sidecars",
        action="store_const",
        const=".xmp",
        help="XMP beside each image, as photo.jpg.xmp: a description and alternative text",
    )
    batch.add_argument(
        "--existing",
        choices=("skip", "overwrite", "append", "prepend"),
        default="skip",
        help="what to do with a caption that is there already (skip)",
    )
    batch.add_argument("--template", default="{caption}", help="text around each caption, such as 'sks, {caption}'")
    batch.add_argument("--limit", type=int, metavar="N", help="caption at most so many images")
    batch.add_argument("--dry-run", action="store_true", help="list what would be captioned, and change nothing")
    batch.add_argument("--url", help="let the service at this URL caption, instead of this process")
    batch.add_argument("--key", help="API key for --url (default: the variable CAPTIOND_KEY)")

    doctor = commands.add_parser("doctor", help="check a service and say what to fix")

    secret = commands.add_parser("webhook-secret", help="print the secrets that sign webhooks")

    keys = commands.add_parser("keys", help="create, revoke and list API keys")
    actions = keys.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="create a key and print it; it is shown only once")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--scope", action="append", choices=[*Scope], type=Scope, help="a scope (submit and read); repeatable"
    )
    revoke = actions.add_parser("revoke", help="revoke a key")
    revoke.add_argument("name", metavar="NAME")
    listing = actions.add_parser("list", help="list the keys' names and scopes")

    for command in (serve, caption, batch, doctor, secret, add, revoke, listing):
        command.add_argument("--data", type=Path, help="folder for uploads, logs, weights, keys and Redis (./data)")
    for command in (serve, caption, batch, doctor):
        command.add_argument("--model", help="auto, demo, a .pt file, a folder, or a hub id")

    chosen = vars(parser.parse_args(arguments))
    flags = ("host", "port", "insecure", "data", "model")
    given = {name: chosen[name] for name in flags if chosen.get(name) is not None}
    try:
        settings = Settings(**given)
    except SettingsError as error:
        names = {name: f"--{name}" if name in given else variable(name) for name in error.wrong}
        parser.exit(2, "".join(f"{names[name]}: {local(reason)}\n" for name, reason in error.wrong.items()))
    return _run(chosen, settings)


def _run(chosen: dict[str, Any], settings: Settings) -> int:
    if chosen["command"] in ("caption", "batch"):  # these import torch, which needs the folder of temporary files
        try:
            folders.check_temporary_folder()
        except FolderError as error:
            warn(error)
            return 1
    # Each command imports its own module, so that `captiond doctor` does not import torch.
    match chosen["command"]:
        case "serve":
            from cli.serve import serve

            return serve(settings)
        case "caption":
            from cli.caption import caption

            return caption(settings, chosen["files"], as_json=chosen["json"], count=chosen["n"])
        case "batch":
            from cli.batch.run import Options, batch

            options = {field.name: chosen[field.name] for field in dataclasses.fields(Options)}
            options["key"] = options["key"] or os.environ.get("CAPTIOND_KEY")
            return batch(settings, Options(**options))
        case "webhook-secret":
            from cli.webhook_secret import webhook_secret

            return webhook_secret(settings)
        case "keys":
            from cli import keys

            match chosen["action"]:
                case "add":
                    return keys.add(settings, chosen["name"], chosen["scope"])
                case "revoke":
                    return keys.revoke(settings, chosen["name"])
                case _:
                    return keys.show(settings)
        case _:
            from cli.doctor import doctor

            return doctor(settings)


if __name__ == "__main__":
    main()
