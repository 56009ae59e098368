"""What all records of jobs and batches share: their base class, and why one failed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import SkipJsonSchema

from common import problems
from common.problems import Problem
from common.translation import SOURCE, Message


class Record(BaseModel):
    """A record that does not change."""

    model_config = ConfigDict(frozen=True)


class Failure(Record):
    """Why a job failed or was canceled, or an archive failed: type, title and detail of a problem, in English.

    `message` is the detail with its values apart, for its translation; records of earlier versions have none.
    """

    type: str
    title: str
    detail: str
    message: SkipJsonSchema[Message | None] = None

    @classmethod
    def of(cls, problem: Problem) -> Failure:
        return cls(type=problem.kind.type, title=problem.kind.title, detail=problem.detail, message=problem.message)

    def problem(self) -> Problem:
        """Return the problem that this failure records."""
        kind = problems.KINDS.get(self.type.removeprefix(problems.TYPE_PREFIX), problems.INTERNAL)
        return Problem(kind, self.message or Message(self.detail))

    def translated(self, language: str) -> Failure:
        """Return the failure with title and detail in `language`, without `message`."""
        detail = self.message.translated(language) if self.message else self.detail
        return Failure(type=self.type, title=Message(self.title).translated(language), detail=detail)

    def body(self, language: str = SOURCE) -> dict[str, str]:
        """Return the API's JSON, with title and detail in `language`."""
        return self.translated(language).model_dump(mode="json", exclude={"message"})
