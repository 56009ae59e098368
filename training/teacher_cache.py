"""On-disk cache of the teacher's top-K predictions for each token of each caption.

For each token it stores the 64 most likely words with their log-probabilities, and the log-probability of all other
words together, softened by the run's temperature: 258 bytes instead of 61 kB for BLIP's whole vocabulary in float16.

Each teacher has its own folder, named by a hash of everything that its predictions depend on. Each process appends to
its own files, `NAME.words` with the tokens and `NAME.captions` with keys and token counts, and reads the files that
other processes had written when it started. Tokens are on disk before the caption that counts them, so a kill or a
power failure loses only what was not yet written.
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

from captioning.errors import StudentError
from common import strict_json
from common.files import append
from training.losses import MIN_REST, TopK

#: Words stored per token.
TOP_K = 64
#: Number of captions that are written to disk together.
WRITE_SIZE = 64
#: Bytes of a caption's key.
KEY_BYTES = 16
_CAPTION = np.dtype([("key", f"V{KEY_BYTES}"), ("tokens", "<u4")])


class TeacherCache:
    """The cached captions of one teacher. `inputs` is what they depend on: weights, tokenizer, temperature etc."""

    def __init__(self, folder: Path, inputs: Mapping[str, Any], vocabulary: int) -> None:
        about = strict_json.dumps(inputs, sort_keys=True, indent=1)
        self._folder = folder / hashlib.sha256(about.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "about.json").write_text(about + "\n", encoding="utf-8")
        self.top_k = min(TOP_K, vocabulary)
        id_type = "<u2" if vocabulary <= 2**16 else "<i4"
        self._token = np.dtype([("ids", id_type, self.top_k), ("values", "<f2", self.top_k + 1)])
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._pending: dict[bytes, NDArray[np.void]] = {}
        self._parts: list[NDArray[np.void]] = []  # memory-mapped
        self._locations: dict[bytes, tuple[int, int, int]] = {}  # key to part, first token, number of tokens
        for path in sorted(self._folder.glob("*.captions")):
            self._open(path)
        self._parts.append(np.empty(0, self._token))  # of this process

    def __len__(self) -> int:
        return len(self._locations) + len(self._pending)

    def __contains__(self, key: bytes) -> bool:
        return key in self._locations or key in self._pending

    def add(self, key: bytes, tokens: NDArray[np.void]) -> None:
        """Add a caption's tokens. They are written to disk by `write`, or once `WRITE_SIZE` captions are pending."""
        self._pending[key] = tokens
        if len(self._pending) >= WRITE_SIZE:
            self.write()

    def write(self) -> None:
        """Write the pending captions to disk."""
        if not self._pending:
            return
        captions = np.array([(key, len(tokens)) for key, tokens in self._pending.items()], dtype=_CAPTION)
        words = np.concatenate(list(self._pending.values()))
        for suffix, content in ((".words", words), (".captions", captions)):
            append(self._own.with_suffix(suffix), content.tobytes())
        own = len(self._parts) - 1
        written = len(self._parts[own])
        self._parts[own] = self._memory_map(self._own.with_suffix(".words"), written + len(words))
        self._index(own, captions, written)
        self._pending.clear()

    def get(self, keys: Sequence[bytes], device: torch.device) -> TopK:
        """The tokens of several captions, concatenated. Raises `KeyError` for a caption that is not cached.

        Their probabilities are normalised again, as rounding to float16 changed their sum.
        """
        tokens = np.concatenate([self._tokens(key) for key in keys])
        values = torch.from_numpy(tokens["values"].astype(np.float32)).to(device).log_softmax(dim=1)
        ids = torch.from_numpy(tokens["ids"].astype(np.int64)).to(device)
        return TopK(ids, values[:, :-1], values[:, -1])

    def rows(self, logits: torch.Tensor, temperature: float) -> NDArray[np.void]:
        """Logits [tokens, V] in the cache's format. Raises `StudentError` if they are not finite."""
        if not bool(logits.isfinite().all()):
            raise StudentError(
                "The teacher's logits are not finite (NaN or infinite), so they are not cached. Try "
                "--teacher-precision fp32; if that does not help, the teacher's weights are damaged."
            )
        soft = torch.log_softmax(logits.float() / temperature, dim=-1)
        top = soft.topk(self.top_k, dim=-1)
        rest = (1 - top.values.exp().sum(dim=-1)).clamp_min(MIN_REST).log()
        kept = np.empty(len(logits), dtype=self._token)
        kept["ids"] = top.indices.cpu().numpy()
        kept["values"] = torch.cat([top.values, rest[:, None]], dim=1).cpu().numpy()
        return kept

    def _tokens(self, key: bytes) -> NDArray[np.void]:
        if key in self._pending:
            return self._pending[key]
        part, first, count = self._locations[key]
        return self._parts[part][first : first + count]

    def _open(self, path: Path) -> None:
        """Open the files of another process, without incomplete entries at their end."""
        words = path.with_suffix(".words")
        complete = path.stat().st_size // _CAPTION.itemsize
        captions = np.fromfile(path, dtype=_CAPTION, count=complete)
        tokens = words.stat().st_size // self._token.itemsize if words.exists() else 0
        captions = captions[: int(np.searchsorted(captions["tokens"].cumsum(), tokens, side="right"))]
        if len(captions):
            self._parts.append(self._memory_map(words, tokens))
            self._index(len(self._parts) - 1, captions, 0)

    def _memory_map(self, path: Path, tokens: int) -> NDArray[np.void]:
        return np.memmap(path, dtype=self._token, mode="r", shape=(tokens,))

    def _index(self, part: int, captions: NDArray[np.void], first: int) -> None:
        """Index captions that are stored one after the other in a part, starting at token `first`."""
        counts = captions["tokens"].tolist()
        for key, count in zip(captions["key"], counts, strict=True):
            self._locations[key.tobytes()] = (part, first, count)
            first += count


def cache_key(image: str, tokens: Sequence[int]) -> bytes:
    """Key of a caption of an image; `image` is the image's name."""
    content = image.encode() + b"\0" + np.asarray(tokens, dtype="<u4").tobytes()
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()
