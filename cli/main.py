"""Reads the command line of `captiond`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cli.output import output
from common import folders
from common.folders import FolderError
from common.keyring import Scope
from common.settings import Settings, SettingsError, variable


def main(arguments: list[str] | None = None) -> None:
    """Run a command; the exit code is 0 when all went well, 1 when something did not, 2 for a wrong command."""
    with output():
        sys.exit(_main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="captiond", description="A sentence for each photograph.")
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="run the whole service: Redis, a worker, the web server")
    serve.add_argument("--host", help="address the web server listens on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port the web server listens on (8080)")
    serve.add_argument(
        "--insecure", action="store_const", const=True, help="let other machines use it although there are no API keys"
    )

    caption = commands.add_parser("caption", help="caption files here, without the service")
    caption.add_argument("files", nargs="+", type=Path, metavar="FILE")
    caption.add_argument("--json", action="store_true", help="one JSON object a line")

    doctor = commands.add_parser("doctor", help="look at a service and say what is wrong and what to do")

    secret = commands.add_parser("webhook-secret", help="print what webhooks are signed with, for who receives them")

    keys = commands.add_parser("keys", help="make, revoke and list API keys")
    actions = keys.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="make a key, and print it this once")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--scope", action="append", choices=[*Scope], type=Scope, help="what it is for (submit and read); repeatable"
    )
    revoke = actions.add_parser("revoke", help="make a key useless")
    revoke.add_argument("name", metavar="NAME")
    listing = actions.add_parser("list", help="names, and what each key is for")

    for command in (serve, caption, doctor, secret, add, revoke, listing):
        command.add_argument("--data", type=Path, help="folder for uploads, logs, weights, keys and Redis (./data)")
    for command in (serve, caption, doctor):
        command.add_argument("--model", help="auto, demo, a .pt file, a folder, or a hub id")

    chosen = vars(parser.parse_args(arguments))
    flags = ("host", "port", "insecure", "data", "model")
    given = {name: chosen[name] for name in flags if chosen.get(name) is not None}
    try:
        settings = Settings(**given)
    except SettingsError as error:
        names = {name: f"--{name}" if name in given else variable(name) for name in error.wrong}
        parser.exit(2, "".join(f"{names[name]}: {sentence}\n" for name, sentence in error.wrong.items()))
    return _run(chosen, settings)


def _run(chosen: dict[str, Any], settings: Settings) -> int:
    # Each command imports its own: `captiond doctor` should not wait for torch.
    match chosen["command"]:
        case "serve":
            from cli.serve import serve

            return serve(settings)
        case "caption":
            try:
                folders.check_temporary_folder()
            except FolderError as error:
                print(error, file=sys.stderr)
                return 1
            from cli.caption import caption

            return caption(settings, chosen["files"], as_json=chosen["json"])
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
