"""Chats in other protocols: which pictures to caption, and what the model is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common import problems
from common.problems import Problem
from web.compat.pictures import Picture, read_pictures
from web.services import Services


@dataclass(frozen=True)
class Message:
    """A message of a chat: its text, and what it says of its pictures (see `pictures.read_pictures`)."""

    role: str
    text: str = ""
    pictures: list[Any] = field(default_factory=list)


def read_chat(services: Services, messages: Sequence[Message]) -> tuple[str, list[Picture]]:
    """What a chat tells the model, and the pictures that it is about.

    Clients send the whole chat with each request. So the pictures are those of the last message that has any, and the
    instruction is the text of the system's messages and of the user's last one. Raises as `read_pictures` does.
    """
    system = [message.text for message in messages if message.role == "system"]
    user = [message.text for message in messages if message.role == "user" and message.text]
    references = next((message.pictures for message in reversed(messages) if message.pictures), [])
    return join_instructions(*system, *user[-1:]), read_pictures(services, references)


def join_instructions(*texts: str) -> str:
    """The texts that are not empty, each in a line of its own."""
    return "\n".join(text for text in texts if text)


def bad_messages() -> Problem:
    """The problem of a chat in another form."""
    return problems.BAD_REQUEST("`messages` must be a list of messages, each an object with `role` and `content`.")
