"""What the teacher finds likeliest after each word of each caption, on disk: computed once, read by every later epoch.

Of each token the 64 likeliest words are kept with their log-probabilities and that of all others together, softened by
the run's temperature: 258 bytes instead of the 61 kB that BLIP's whole vocabulary would take in float16.

A folder is one teacher's; its name is made from all that decides what is in it. Each process appends to files of its
own, `NAME.words` with the tokens and `NAME.captions` with what they are of, and reads those of all others that were
there when it started. Tokens are on the disk before the caption that counts them, so that a kill, or a machine that
loses its power, costs what was not yet written and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioning.student.errors import StudentError
from common import strict_json
from training.losses import LEAST, TopK

#: Words kept of each token's distribution.
WORDS = 64
#: Captions that are written at once.
TOGETHER = 64
#: Bytes of a caption's key.
KEY_BYTES = 16
_CAPTION = np.dtype([("key", f"V{KEY_BYTES}"), ("tokens", "<u4")])


class TeacherCache:
    """The kept captions of one teacher. `of` is what they depend on: its weights, its tokenizer, the temperature …"""

    def __init__(self, folder: Path, of: Mapping[str, Any], vocabulary: int) -> None:
        about = strict_json.dumps(of, sort_keys=True, indent=1)
        self._folder = folder / hashlib.sha256(about.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "about.json").write_text(about + "\n", encoding="utf-8")
        self.words = min(WORDS, vocabulary)
        id_type = "<u2" if vocabulary <= 2**16 else "<i4"
        self._token = np.dtype([("ids", id_type, self.words), ("values", "<f2", self.words + 1)])
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._waiting: dict[bytes, NDArray[np.void]] = {}
        self._parts: list[NDArray[np.void]] = []  # memory-mapped
        self._places: dict[bytes, tuple[int, int, int]] = {}  # key to part, first token, tokens
        for path in sorted(self._folder.glob("*.captions")):
            self._open(path)
        self._parts.append(np.empty(0, self._token))  # this process's own

    def __len__(self) -> int:
        return len(self._places) + len(self._waiting)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places or key in self._waiting

    def add(self, key: bytes, tokens: NDArray[np.void]) -> None:
        """Keep a caption's tokens; they are on disk after `write`, or when enough wait for it."""
        self._waiting[key] = tokens
        if len(self._waiting) >= TOGETHER:
            self.write()

    def write(self) -> None:
        """Put what waits on the disk."""
        if not self._waiting:
            return
        captions = np.array([(key, len(tokens)) for key, tokens in self._waiting.items()], dtype=_CAPTION)
        words = np.concatenate(list(self._waiting.values()))
        for suffix, content in ((".words", words), (".captions", captions)):
            with self._own.with_suffix(suffix).open("ab") as file:
                file.write(content.tobytes())
                file.flush()
                os.fsync(file.fileno())
        own = len(self._parts) - 1
        written = len(self._parts[own])
        self._parts[own] = self._mapped(self._own.with_suffix(".words"), written + len(words))
        self._place(own, captions, written)
        self._waiting.clear()

    def get(self, keys: Sequence[bytes], device: torch.device) -> TopK:
        """The tokens of several captions, one after the other. Raises `KeyError` for one that is not there.

        Their probabilities add up to one again, which rounding to float16 had spoilt.
        """
        found = np.concatenate([self._tokens(key) for key in keys])
        values = torch.from_numpy(found["values"].astype(np.float32)).to(device).log_softmax(dim=1)
        ids = torch.from_numpy(found["ids"].astype(np.int64)).to(device)
        return TopK(ids, values[:, :-1], values[:, -1])

    def rows(self, logits: torch.Tensor, temperature: float) -> NDArray[np.void]:
        """Logits [tokens, V] as they are kept. Raises `StudentError` for what would spoil every later run."""
        if not bool(logits.isfinite().all()):
            raise StudentError(
                "The teacher's logits are not finite (NaN or infinite), so they are not remembered. Try "
                "--teacher-precision fp32; otherwise its weights are damaged."
            )
        soft = torch.log_softmax(logits.float() / temperature, dim=-1)
        likeliest = soft.topk(self.words, dim=-1)
        rest = (1 - likeliest.values.exp().sum(dim=-1)).clamp_min(LEAST).log()
        kept = np.empty(len(logits), dtype=self._token)
        kept["ids"] = likeliest.indices.cpu().numpy()
        kept["values"] = torch.cat([likeliest.values, rest[:, None]], dim=1).cpu().numpy()
        return kept

    def _tokens(self, key: bytes) -> NDArray[np.void]:
        if key in self._waiting:
            return self._waiting[key]
        part, first, count = self._places[key]
        return self._parts[part][first : first + count]

    def _open(self, path: Path) -> None:
        """Read another process's part, up to where its files were torn."""
        words = path.with_suffix(".words")
        whole = path.stat().st_size // _CAPTION.itemsize
        captions = np.fromfile(path, dtype=_CAPTION, count=whole)
        tokens = words.stat().st_size // self._token.itemsize if words.exists() else 0
        captions = captions[: int(np.searchsorted(captions["tokens"].cumsum(), tokens, side="right"))]
        if len(captions):
            self._parts.append(self._mapped(words, tokens))
            self._place(len(self._parts) - 1, captions, 0)

    def _mapped(self, path: Path, tokens: int) -> NDArray[np.void]:
        return np.memmap(path, dtype=self._token, mode="r", shape=(tokens,))

    def _place(self, part: int, captions: NDArray[np.void], first: int) -> None:
        """Note where captions that follow one another from token `first` of a part are."""
        counts = captions["tokens"].tolist()
        for key, count in zip(captions["key"], counts, strict=True):
            self._places[key.tobytes()] = (part, first, count)
            first += count


def key_of(picture: str, tokens: Sequence[int]) -> bytes:
    """What a picture, by name, and a caption are found by."""
    content = picture.encode() + b"\0" + np.asarray(tokens, dtype="<u4").tobytes()
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()
