"""Options of `captiond batch` and `captiond watch`, and the output that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.batch.alt_text import alt_text
from cli.batch.beside import Embedded, TextSidecars, XmpSidecars
from cli.batch.outputs import Existing, Output, TableFile
from common import xmp
from common.images.formats import SUFFIXES
from common.options import PLACEHOLDER, check_template, fill_template
from common.translation import Message, _

#: The suffix of sidecars that are XMP.
XMP = ".xmp"


@dataclass(frozen=True)
class Options:
    """What the command line asks for: one of `out`, `sidecars` and `embed`, and `url` for a running service.

    `model` is the name of a model of that service; without a service, the settings name the model. A `manifest` is
    captioned by the service, which writes the results itself.
    """

    paths: list[str]
    manifest: str | None = None
    recursive: bool = False
    out: Path | None = None
    sidecars: str | None = None
    embed: bool = False
    existing: Existing = "skip"
    template: str = PLACEHOLDER
    alt_text: bool = False
    limit: int | None = None
    dry_run: bool = False
    poll: float | None = None
    url: str | None = None
    key: str | None = None
    model: str | None = None

    def wrong(self) -> Message | None:
        """An error message for invalid options, else None."""
        if self.manifest is not None:
            if self.paths or self.out or self.sidecars or self.embed or not self.url:
                return _(
                    "--manifest URL needs --url SERVICE, and no files and no output: the service writes the results."
                )
            return None
        if not self.paths:
            return _("Give the files or folders to caption, or --manifest URL.")
        if sum(map(bool, (self.out, self.sidecars, self.embed))) != 1:
            return _("Give one of --out FILE, --sidecars SUFFIX, --xmp and --embed, for where the captions go.")
        if self.out and self.existing in ("append", "prepend"):
            return _("--existing {mode} is not for --out; a row is skipped or overwritten.", mode=self.existing)
        if self.alt_text and self.existing in ("append", "prepend"):
            return _("--existing {mode} is not for --alt-text, which is one sentence.", mode=self.existing)
        if self.sidecars and not (self.sidecars.startswith(".") and len(self.sidecars) > 1):
            return _("--sidecars takes a suffix such as .txt, and not {suffix}.", suffix=self.sidecars)
        if self.sidecars and self.sidecars.lower() in SUFFIXES:
            return _(
                "--sidecars {suffix} would be named as images are. Take a suffix such as .txt.", suffix=self.sidecars
            )
        try:
            check_template(self.template)
        except ValueError as error:
            return _("--template: {reason}", reason=error.args[0])
        if self.limit is not None and self.limit < 1:
            return _("--limit must be 1 or more.")
        return None

    def output(self) -> Output:
        """Open the output. Raises `BatchError`."""
        properties = (xmp.ALT_TEXT,) if self.alt_text else xmp.CAPTION
        if self.out is not None:
            return TableFile(self.out, overwrite=self.existing == "overwrite")
        if self.sidecars == XMP:
            return XmpSidecars(self.existing, properties)
        if self.sidecars is not None:
            return TextSidecars(self.sidecars, self.existing)
        return Embedded(self.existing, properties)

    def text(self, caption: str) -> str:
        """The text that is written for a caption of the model."""
        text = fill_template(self.template, caption)
        return alt_text(text) if self.alt_text else text
