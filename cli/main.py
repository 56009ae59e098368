"""The `captiond` command: parses arguments and runs the subcommand."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any

import shtab

from cli.arguments import parser
from cli.output import local, output, warn
from common import folders
from common.folders import FolderError
from common.settings import Settings, SettingsError, variable


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with 0 for success, 1 for a failure, 2 for wrong arguments or settings."""
    with output():
        sys.exit(_main(arguments))


def _main(arguments: list[str] | None) -> int:
    whole = parser()
    chosen = vars(whole.parse_args(arguments))
    if chosen["command"] == "completion":
        print(shtab.complete(whole, chosen["shell"]))
        return 0
    flags = ("host", "port", "insecure", "data", "model")
    given = {name: chosen[name] for name in flags if chosen.get(name) is not None}
    try:
        settings = Settings(**given)
    except SettingsError as error:
        names = {name: f"--{name}" if name in given else variable(name) for name in error.wrong}
        whole.exit(2, "".join(f"{names[name]}: {local(reason)}\n" for name, reason in error.wrong.items()))
    return _run(chosen, settings)


def _run(chosen: dict[str, Any], settings: Settings) -> int:
    if chosen["command"] in (
        "caption",
        "batch",
        "watch",
    ):  # these import torch, which needs the folder of temporary files
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
        case "batch" | "watch" as command:
            from cli.batch.options import Options

            given = {field.name: chosen[field.name] for field in dataclasses.fields(Options) if field.name in chosen}
            given["key"] = given["key"] or os.environ.get("CAPTIOND_KEY")
            options = Options(**given)
            if command == "watch":
                from cli.batch.watch import watch

                return watch(settings, options)
            from cli.batch.run import batch

            return batch(settings, options)
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
