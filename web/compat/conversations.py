"""Chats in other protocols: which pictures to caption, and what the model is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common import problems
from common.problems import Problem


@dataclass(frozen=True)
class Message:
    """A message of a chat: its text, and what it says of its pictures (see `pictures.read_pictures`)."""

    role: str
    text: str = ""
    pictures: list[Any] = field(default_factory=list)


def latest_pictures(messages: Sequence[Message]) -> list[Any]:
    """The pictures of the last message that has any, because clients send the whole chat with each request."""
    return next((message.pictures for message in reversed(messages) if message.pictures), [])


def instruction(messages: Sequence[Message]) -> str:
    """The text of the system's messages and of the user's last one."""
    system = [message.text for message in messages if message.role == "system"]
    user = [message.text for message in messages if message.role == "user" and message.text]
    return join_instructions(*system, *user[-1:])


def join_instructions(*texts: str) -> str:
    """The texts that are not empty, each in a line of its own."""
    return "\n".join(text for text in texts if text)


def bad_messages() -> Problem:
    """The problem of a chat in another form."""
    return problems.BAD_REQUEST("`messages` must be a list of messages, each an object with `role` and `content`.")
