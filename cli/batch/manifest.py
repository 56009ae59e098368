"""`captiond batch --manifest`: lets a service caption a manifest, and says where the results are."""

from __future__ import annotations

import time
from typing import Any

from cli.batch.options import Options
from cli.batch.remote import Service
from cli.output import say, warn
from common.translation import _

#: Seconds between two looks at the batch, and between two lines of progress.
POLL_INTERVAL, LINE_INTERVAL = 2.0, 10.0


def caption_manifest(options: Options, service: Service) -> int:
    """Send the manifest, and wait for its end. Return 0 if all pictures have captions, else 1. Raises `BatchError`."""
    body: dict[str, Any] = {"manifest": options.manifest}
    if options.model:
        body["options"] = {"model": options.model}
    batch = service.request("POST", "/v1/batches", json=body).json()
    path = f"/v1/batches/{batch['id']}"
    warn(_("The service captions it as batch {id}, also if this command is stopped.", id=batch["id"]))
    shown = time.monotonic()
    while batch["status"] == "in_progress":
        service.sleep(POLL_INTERVAL)
        batch = service.read_batch(path)
        if time.monotonic() - shown > LINE_INTERVAL:
            shown = time.monotonic()
            warn(
                _(
                    "{done} of {total} chunks, {captioned} captions",
                    done=batch["manifest"]["chunks"]["done"],
                    total=batch["manifest"]["chunks"]["total"],
                    captioned=batch["manifest"]["pictures"]["captioned"],
                )
            )
    manifest = batch["manifest"]
    chunks, pictures = manifest["chunks"], manifest["pictures"]
    if manifest["error"]:
        warn(manifest["error"]["detail"])
    warn(
        _(
            "{captioned} captioned, {failed} failed; of {total} chunks, {lost} failed and {canceled} were canceled.",
            captioned=pictures["captioned"],
            failed=pictures["failed"],
            total=chunks["total"],
            lost=chunks["failed"],
            canceled=chunks["canceled"],
        )
    )
    say(manifest["output"])
    return int(bool(manifest["error"] or pictures["failed"] or chunks["failed"] or chunks["canceled"]))
