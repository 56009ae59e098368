"""The model of a server, as `CAPTIOND_MODEL` names it: `openai:URL#NAME` or `ollama:URL#NAME`."""

from __future__ import annotations

from typing import NamedTuple, Self

from common.outbound.targets import UrlNotAllowed, parse_url
from common.translation import _

#: The protocols in which a server may be asked for captions.
PROTOCOLS = ("openai", "ollama")


class ServedModel(NamedTuple):
    """A model that a server runs: its protocol, the server's URL without a slash at the end, and the model's name."""

    protocol: str
    url: str
    name: str

    @classmethod
    def parse(cls, model: str) -> Self | None:
        """The model that the setting names; None if no server runs it. URL and name are not checked."""
        protocol, _colon, address = model.partition(":")
        if protocol not in PROTOCOLS:
            return None
        url, _hash, name = address.partition("#")
        return cls(protocol, url.rstrip("/"), name)

    def check(self) -> None:
        """Raise `ValueError`, with a sentence that contains no part of the URL, unless URL and name can be used."""
        if not self.name or "#" in self.name:
            raise ValueError(
                _("The name of the model follows the URL of its server after a #: openai:http://HOST:8000/v1#NAME.")
            )
        if "?" in self.url:
            raise ValueError(_("The URL of a model's server must not have a query."))
        try:
            parse_url(self.url, allow_local=True)
        except UrlNotAllowed as error:
            raise ValueError(error.args[0]) from None
