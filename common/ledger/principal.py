"""Who looks at the ledger: whose the new jobs are, and whose jobs are there at all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """`owner` is the name of an API key, None where there are no keys; `sees_all` is an administrator's right."""

    owner: str | None = None
    sees_all: bool = True

    def may_see(self, owner: str | None) -> bool:
        """Whether what `owner` made is there for this principal."""
        return self.sees_all or owner == self.owner


#: The service itself, and everybody where no keys are set up.
EVERYBODY = Principal()
#: A stranger where keys are needed: no key has this name, and so nothing is there.
NOBODY = Principal("", sees_all=False)
