"""All errors that users see: HTTP status, stable type, and a sentence that says what to do.

The JSON form is RFC 9457 (`application/problem+json`). A `Problem` is reported as an HTTP response, a failed job's
`error`, or a line of the CLI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.translation import SOURCE, Message

#: Prefix of every problem's `type`. A relative reference (RFC 9457 §3.1.1), so that it holds on any host.
TYPE_PREFIX = "/problems/"
CONTENT_TYPE = "application/problem+json"
#: Characters of a name from a request that `shown_name` keeps. Most names of models are shorter.
MAX_SHOWN_NAME_LENGTH = 60


@dataclass(frozen=True)
class Kind:
    """A kind of problem: the constant parts of its occurrences."""

    slug: str
    status: int
    title: str

    @property
    def type(self) -> str:
        return TYPE_PREFIX + self.slug

    def __call__(self, detail: str | Message, *, extensions: dict[str, Any] | None = None, **values: Any) -> Problem:
        """Create an occurrence.

        `detail` is a complete sentence whose placeholders are `values`; it is translated where it is shown.
        `extensions` are further JSON members.
        """
        return Problem(self, detail if isinstance(detail, Message) else Message(detail, None, values), extensions)


class Problem(Exception):
    """An occurrence of a kind of problem, with a sentence for the user."""

    def __init__(self, kind: Kind, message: Message, extensions: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.extensions = extensions or {}

    @property
    def status(self) -> int:
        return self.kind.status

    @property
    def title(self) -> Message:
        return Message(self.kind.title)

    @property
    def detail(self) -> str:
        """The sentence in English."""
        return str(self.message)

    def body(self, language: str = SOURCE) -> dict[str, Any]:
        """Return the RFC 9457 object, with title and detail in `language`."""
        return {
            "type": self.kind.type,
            "title": self.title.translated(language),
            "status": self.kind.status,
            "detail": self.message.translated(language),
            **self.extensions,
        }


def shown_name(name: str) -> str:
    """A name from a request for an error message: in quotes, at most `MAX_SHOWN_NAME_LENGTH` characters of it.

    Invalid Unicode and control characters become escape sequences.
    """
    return repr(name[:MAX_SHOWN_NAME_LENGTH])


# Problems of an image.
EMPTY_UPLOAD = Kind("empty-upload", 400, "The file is empty")
MISSING_IMAGE = Kind("missing-image", 400, "No picture was sent")
UNSUPPORTED_IMAGE = Kind("unsupported-image", 415, "Not a picture that can be read")
DAMAGED_IMAGE = Kind("damaged-image", 422, "The picture is damaged")
IMAGE_TOO_COSTLY = Kind("image-too-costly", 422, "The picture takes too much to decode")
IMAGE_TOO_LARGE = Kind("image-too-large", 413, "The picture has too many pixels")
UPLOAD_TOO_LARGE = Kind("upload-too-large", 413, "The file is too large")

# Problems of a request.
BAD_REQUEST = Kind("bad-request", 400, "The request cannot be understood")
TOO_MANY_IMAGES = Kind("too-many-images", 413, "Too many pictures in one request")
CUSTOM_ID_CONFLICT = Kind("custom-id-conflict", 409, "The batch has another picture with this custom_id")
BATCH_SEALED = Kind("batch-sealed", 409, "The batch takes no more pictures")
IDEMPOTENCY_CONFLICT = Kind("idempotency-conflict", 422, "The Idempotency-Key was used for another request")
FOREIGN_ORIGIN = Kind("foreign-origin", 403, "The request came from another site")
URL_NOT_ALLOWED = Kind("url-not-allowed", 422, "The URL cannot be used")
FETCHING_OFF = Kind("fetching-off", 403, "Pictures are not fetched here")
FETCH_FAILED = Kind("fetch-failed", 422, "The picture could not be fetched")
UNKNOWN_HOST = Kind("unknown-host", 421, "The service is not called by this name")
KEY_NEEDED = Kind("key-needed", 401, "An API key is needed")
KEY_REFUSED = Kind("key-refused", 403, "The API key is not for this")
RATE_LIMITED = Kind("rate-limited", 429, "Too many requests in a minute")
QUOTA_USED_UP = Kind("quota-used-up", 429, "The API key's quota is used up")
JOB_NOT_FOUND = Kind("job-not-found", 404, "No such job")
BATCH_NOT_FOUND = Kind("batch-not-found", 404, "No such batch")
JOB_GONE = Kind("job-gone", 410, "The job is no longer kept")
BATCH_GONE = Kind("batch-gone", 410, "The batch is no longer kept")
CAPTION_PENDING = Kind("caption-pending", 503, "The caption is not ready yet")
# Not 409, which OpenAI's clients repeat by themselves.
JOB_CANCELED = Kind("job-canceled", 410, "The job was canceled")
NOT_CAPTIONED = Kind("not-captioned", 409, "The picture has no caption")
MODEL_NOT_FOUND = Kind("model-not-found", 404, "No such model")
NOT_FOUND = Kind("not-found", 404, "There is nothing at this address")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This address does not take that method")

# Problems of an archive and of its entries.
BAD_ARCHIVE = Kind("bad-archive", 422, "The archive cannot be read")
BAD_ARCHIVE_ENTRY = Kind("bad-archive-entry", 422, "A file of the archive cannot be taken")

# Problems of a manifest and of its pictures.
MANIFESTS_OFF = Kind("manifests-off", 403, "Manifests are not read here")
BAD_MANIFEST = Kind("bad-manifest", 422, "The manifest cannot be read")
BAD_MANIFEST_ROW = Kind("bad-manifest-row", 422, "A row of the manifest names no picture")
FILE_UNREADABLE = Kind("file-unreadable", 422, "The file cannot be read")

# Problems of the service.
DEADLINE_EXCEEDED = Kind("deadline-exceeded", 504, "There was no caption in time")
QUEUE_FULL = Kind("queue-full", 503, "Too many pictures are waiting")
FETCHING_BUSY = Kind("fetching-busy", 503, "Too many pictures are being fetched")
STORE_UNAVAILABLE = Kind("store-unavailable", 503, "The job store does not answer")
UPLOADS_UNAVAILABLE = Kind("uploads-unavailable", 503, "The store of uploaded pictures does not answer")
STORAGE_FULL = Kind("storage-full", 507, "There is no room to keep the picture")
NOT_READY = Kind("not-ready", 503, "The service is not ready to caption")
WORKER_LOST = Kind("worker-lost", 500, "The worker stopped while captioning")
CAPTION_FAILED = Kind("caption-failed", 500, "The model gave no usable caption")
UPLOAD_LOST = Kind("upload-lost", 500, "The uploaded picture can no longer be read")
INTERNAL = Kind("internal", 500, "Something went wrong on the server")

#: All kinds by slug. docs/api.md lists them, and a test fails if one is missing there.
KINDS: dict[str, Kind] = {kind.slug: kind for kind in list(vars().values()) if isinstance(kind, Kind)}
