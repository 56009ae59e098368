"""Principal: which owner a request acts for, and which records it may see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """`owner` is the name of an API key, None without keys; `sees_all` is true for administrators."""

    owner: str | None = None
    sees_all: bool = True

    def may_see(self, owner: str | None) -> bool:
        """Whether this principal may see the records of `owner`."""
        return self.sees_all or owner == self.owner


#: The service itself, and every client when no API keys are configured.
UNRESTRICTED = Principal()
#: A client without a key when keys are required. No key has this name, so it sees no records.
ANONYMOUS = Principal("", sees_all=False)
