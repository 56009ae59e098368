"""Settings of the service. Only this module reads the environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from common import urls
from common.options import check_instruction, check_language
from common.served_model import ServedModel
from common.signing import signing_key
from common.translation import LANGUAGES, SOURCE, Message, _
from common.validation import sentence_of

#: The checkout or installation, which contains `models/demo` and possibly a `student_epoch6.pt`.
PROJECT_ROOT = Path(__file__).resolve().parent.parent

PREFIX = "CAPTIOND_"
#: Validators of the fields that are URLs.
URL_CHECKS = {
    "redis_url": urls.check_redis,
    "broker_url": urls.check_broker,
    "uploads_url": urls.check_store,
    "results_url": urls.check_store,
    "model_url": urls.check_web,
    "label_studio_url": urls.check_web,
}

#: Names in `compat`: protocols of other software, each of which is a blueprint of `web.compat`.
COMPAT_PROTOCOLS = ("openai", "ollama", "huggingface", "photoprism", "label-studio", "mcp")


class SettingsError(Exception):
    """Invalid settings. The message has a line for each, with its variable and the reason.

    No line contains a value, because a mistyped secret is still nearly the secret. `wrong` maps fields to reasons.
    """

    def __init__(self, wrong: Mapping[str, Message]) -> None:
        super().__init__("\n".join(f"{variable(name)}: {sentence}" for name, sentence in wrong.items()))
        self.wrong = wrong


def variable(name: str) -> str:
    """Return the environment variable of a field."""
    return PREFIX + name.upper()


class Settings(BaseSettings):
    """Settings of a process from the environment variables `CAPTIOND_*`. Raises `SettingsError`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    data: Path = Field(Path("data"), description="Folder for uploads, logs, downloaded weights and the private Redis.")
    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port the web server listens on.")
    insecure: bool = Field(False, description="Serve on an address that other machines can reach without API keys.")
    hosts: str = Field(
        "",
        description="Comma-separated host names that requests may use without API keys, besides `CAPTIOND_HOST`, "
        "`localhost` and every IP address.",
    )
    api_keys: str = Field(
        "",
        description="API keys in addition to those in Redis and in the file `DATA/keys`, as `captiond keys add` prints "
        "them: `NAME:SCOPES:SHA256`, separated by spaces or commas.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        description="Number of proxies in front of the web server that append to `X-Forwarded-For` and set "
        "`X-Forwarded-Proto` and `X-Forwarded-Prefix`.",
    )
    language: Literal["en", "ru"] | None = Field(
        None, description="Language of the commands: `en` or `ru`; if unset, that of `LC_ALL`, `LC_MESSAGES` or `LANG`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level that is logged: DEBUG, INFO, WARNING or ERROR."
    )
    log: Literal["text", "json"] = Field(
        "text", description="Format of the log: `text` for people, or `json`, an object a line."
    )

    redis_url: str | None = Field(
        None,
        repr=False,
        description="Redis of the ledger, e.g. `redis://127.0.0.1:6379/0`, `rediss://…` with TLS or `sentinel://…`. If "
        "unset, `captiond serve` starts a private one; other workers and web servers use `redis://127.0.0.1:6379/0`.",
    )
    redis_replicas: int = Field(
        0,
        ge=0,
        description="Replicas of Redis that must have a job within a second, else it is refused with 503; 0 accepts it "
        "as soon as the primary has it.",
    )
    broker_url: str | None = Field(None, repr=False, description="Celery's broker; if unset, the Redis of the ledger.")
    uploads_url: str | None = Field(
        None,
        repr=False,
        description="Upload store, any fsspec URL (`s3://bucket/prefix`); if unset, `DATA/uploads`. On a file share, "
        "use a subfolder, not the mount point.",
    )

    model: str = Field(
        "auto",
        description="Model: `auto` (the deployed student, else the demo), `demo`, a `.pt` file, a folder in Hugging "
        "Face format, a hub id, or a server's: `openai:URL#NAME` or `ollama:URL#NAME`.",
    )
    model_key: str | None = Field(
        None, repr=False, description="API key of the model's server, which is sent as a bearer token."
    )
    default_model: str | None = Field(
        None,
        description="Name of the model, as `/v1/models` lists it, for jobs that ask for none; if unset, any worker "
        "captions these. Read by the web servers.",
    )
    model_url: str = Field(
        "https://drive.google.com/uc?id=1w7hY_dpYc-QJ_qUzBkz-2uBqxnfS0lko",
        repr=False,
        description="URL from which `auto` downloads `student_epoch6.pt` (Google Drive, with gdown).",
    )
    processor: str = Field(
        "Salesforce/blip-image-captioning-base",
        description="Tokenizer and image preprocessing of a `.pt` student: a hub id or a local folder.",
    )
    text_heads: PositiveInt = Field(8, description="Attention heads of a `.pt` student's text decoder.")
    vision_heads: PositiveInt = Field(12, description="Attention heads of a `.pt` student's vision encoder.")
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto",
        description="Precision of the model: `fp32` is exact; `bf16`, `fp16` and `int8` are faster on processors that"
        " support them; `auto` measures which is fastest and logs it.",
    )
    device: str = Field(
        "auto",
        description="Device of the model: `cpu`, `cuda`, `cuda:1` for the second GPU; `auto` is the first GPU, else "
        "the CPU.",
    )
    gpu_memory: float = Field(
        1.0, gt=0, le=1, description="Largest part of the GPU's memory that the worker may use, from 0 to 1."
    )
    unload_after: float = Field(
        0.0,
        ge=0,
        description="Seconds without a picture after which a worker's model leaves memory, until the next picture; 0 "
        "keeps it in memory.",
    )
    beams: PositiveInt = Field(5, description="Beams of the beam search.")
    max_length: int = Field(32, ge=2, description="Maximum caption length in tokens, with start and end token.")
    min_length: int = Field(0, ge=0, description="Minimum caption length in tokens, with start and end token.")
    translate: str | None = Field(
        None,
        description="Also translate captions: a language and a Marian model, a hub id or a folder, such as "
        "`ru:Helsinki-NLP/opus-mt-en-ru`.",
    )
    length_penalty: float = Field(
        1.0,
        ge=0,
        description="Exponent of the length by which a caption's log-probability is divided; higher values favour "
        "longer captions.",
    )
    unsure_below: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Captions with a lower confidence are marked `unsure`; 0 marks none.",
    )
    prompt: str = Field("", description="Words that start every caption, for a model trained with them.")
    instruction: str = Field(
        "Describe the picture in one sentence.",
        description="What a model that takes instructions is asked for, in words.",
    )
    caption_language: str | None = Field(
        None,
        description="Language of the captions of a model that takes instructions, a code such as `de`; if unset, that "
        "of the instruction.",
    )
    max_batch: PositiveInt = Field(
        8, description="Maximum images per call of the model, or requests at a time to its server."
    )

    lease_seconds: PositiveFloat = Field(
        30.0, description="Seconds without a heartbeat after which a worker's jobs go to another."
    )
    max_attempts: PositiveInt = Field(3, description="Attempts before a job fails as `worker-lost`.")
    retention: PositiveFloat = Field(7 * 86400.0, description="Seconds after which a job and its image are deleted.")

    max_upload_bytes: PositiveInt = Field(20 * 2**20, description="Maximum size of an image in bytes.")
    max_pixels: PositiveInt = Field(50_000_000, description="Maximum size of an image in pixels (width x height).")
    max_batch_items: PositiveInt = Field(
        10_000, description="Maximum images in a batch; a form with `images` may have at most 1,000 of them."
    )
    max_batch_bytes: PositiveInt = Field(512 * 2**20, description="Maximum size of a batch request in bytes.")
    max_open_jobs: PositiveInt = Field(
        20_000,
        description="Maximum jobs waiting or running; further ones are refused with 503.",
    )
    max_open_jobs_per_key: int = Field(
        10_000, ge=0, description="Maximum jobs waiting or running for one API key; 0 means no limit."
    )
    max_bytes_per_key_and_day: int = Field(
        0, ge=0, description="Maximum bytes of images from one API key per day (UTC); 0 means no limit."
    )
    submits_per_minute: int = Field(
        30_000,
        ge=0,
        description="Maximum writing requests per minute for an API key, or, without keys, for an address (except "
        "this machine); 0 means no limit.",
    )
    reads_per_minute: int = Field(120_000, ge=0, description="The same for reading requests.")
    ready_seconds: float = Field(
        10.0, ge=1, description="Seconds without a heartbeat after which a worker no longer counts as ready."
    )

    manifest_roots: str = Field(
        "",
        description="Folders and buckets, separated by spaces, below which manifests and their pictures may be read, "
        "such as `s3://bucket/photos file:///srv/photos`; if unset, manifests are refused.",
    )
    results_url: str | None = Field(
        None,
        repr=False,
        description="Folder or bucket of the results of manifests, any fsspec URL (`s3://bucket/prefix`); if unset, "
        "`DATA/results`.",
    )

    fetch_urls: bool = Field(False, description="Let clients send an image URL, which the server downloads.")
    compat: str = Field(
        "",
        description="Comma-separated protocols of other software that the web server also speaks: `openai`, `ollama`, "
        "`huggingface`, `photoprism`, `label-studio`, `mcp`; if unset, none.",
    )
    label_studio_url: str | None = Field(
        None,
        description="Label Studio's address, such as `http://label-studio:8080`, to read pictures that it holds.",
    )
    label_studio_token: str | None = Field(
        None, repr=False, description="Access token of a user of Label Studio, to read these pictures."
    )
    webhook_secret: str | None = Field(
        None,
        repr=False,
        description="Signing secret of webhooks, `whsec_` and 24 to 64 bytes in base64; several, separated by commas,"
        " during a rotation. If unset, the service creates one: `captiond webhook-secret` prints it.",
    )
    allow_local_urls: bool = Field(
        False,
        description="Let webhook and image URLs use `http:`, any port and private addresses; only if you trust every "
        "client.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_sentences(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(given)
        except ValidationError as error:
            wrong = {str(item["loc"][0]): sentence_of(item) for item in error.errors()}
        raise SettingsError(wrong)

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_quoted(cls, value: Any) -> Any:
        """Refuse quoted values, because Docker's env files and systemd keep quotes that a shell would remove."""
        if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            raise ValueError(_("The quotes around the value count as part of it here; leave them out."))
        return value

    @field_validator(*URL_CHECKS)
    @classmethod
    def _is_a_url(cls, url: str | None, field: ValidationInfo) -> str | None:
        if url:
            URL_CHECKS[str(field.field_name)](url)
        return url

    @field_validator("model")
    @classmethod
    def _names_a_model(cls, model: str) -> str:
        if served := ServedModel.parse(model):
            served.check()
        return model

    @field_validator("model_key")
    @classmethod
    def _fits_into_a_header(cls, key: str | None) -> str | None:
        if key and not re.fullmatch(r"[\x21-\x7e]+", key):
            raise ValueError(_("It must have no spaces and no characters beyond ASCII."))
        return key or None

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
            raise ValueError(_("It must be auto, cpu, cuda, or cuda: with the number of a GPU, such as cuda:1."))
        return device

    @field_validator("manifest_roots")
    @classmethod
    def _are_stores(cls, roots: str) -> str:
        for root in roots.split():
            urls.check_root(root)
        return roots

    @field_validator("compat")
    @classmethod
    def _names_protocols(cls, value: str) -> str:
        if not set(_names(value)) <= set(COMPAT_PROTOCOLS):
            raise ValueError(_("It must be names separated by commas, of: {names}.", names=", ".join(COMPAT_PROTOCOLS)))
        if "mcp" in _names(value) and find_spec("mcp") is None:
            command = "pip install -e '.[mcp]' -c constraints.txt"
            raise ValueError(_("The protocol mcp needs a package that is not installed: {command}", command=command))
        return value

    @field_validator("translate")
    @classmethod
    def _names_language_and_model(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"[a-z]{2,3}:.+", value):
            raise ValueError(_("It must be a language and a model, such as ru:Helsinki-NLP/opus-mt-en-ru."))
        return value

    @field_validator("instruction")
    @classmethod
    def _is_an_instruction(cls, instruction: str) -> str:
        return check_instruction(instruction)

    @field_validator("caption_language")
    @classmethod
    def _is_a_language(cls, code: str | None) -> str | None:
        return check_language(code) if code else None

    @field_validator("webhook_secret")
    @classmethod
    def _can_sign(cls, secrets: str | None) -> str | None:
        for secret in secrets.split(",") if secrets else ():
            signing_key(secret)
        return secrets

    @property
    def served_model(self) -> ServedModel | None:
        """The model of `model`, if a server runs it."""
        return ServedModel.parse(self.model)

    @property
    def redis_location(self) -> str:
        """URL of the Redis that holds the jobs."""
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @property
    def broker_location(self) -> str:
        """URL of the broker, in the form of `redis_url` if it is Redis."""
        return self.broker_url or self.redis_location

    @property
    def uploads_location(self) -> str:
        """fsspec URL of the folder of uploaded images."""
        # Not `as_uri`: fsspec does not decode the path, and would create a folder named `my%20data`.
        return self.uploads_url or f"file://{self.data.absolute() / 'uploads'}"

    @property
    def compat_protocols(self) -> list[str]:
        """The protocols of other software that the web server speaks."""
        return _names(self.compat)

    @property
    def manifest_root_urls(self) -> list[str]:
        """URLs of the folders and buckets of `manifest_roots`, without a slash at the end."""
        return [urls.folder_url(root) for root in self.manifest_roots.split()]

    @property
    def results_location(self) -> str:
        """fsspec URL of the folder of the results of manifests, without a slash at the end."""
        return urls.folder_url(self.results_url or str(self.data / "results"))

    @property
    def configured_temporary_folder(self) -> Path | None:
        """The folder for temporary files from TMPDIR, if set."""
        folder = os.environ.get("TMPDIR")
        return Path(folder).absolute() if folder else None

    @property
    def otlp_endpoint(self) -> str | None:
        """The URL that OpenTelemetry's traces are sent to, from its standard variable."""
        return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")

    @property
    def keys_file(self) -> Path:
        """The file of the API keys. Requests need a key as soon as it exists."""
        return self.data / "keys"

    def secrets(self) -> set[str]:
        """Return what must not be logged: passwords, tokens, keys, webhook secrets, and the query of `model_url`."""
        secrets = {urlsplit(self.model_url).query, self.model_key or "", self.label_studio_token or ""}
        secrets |= set((self.webhook_secret or "").split(","))
        for url in (self.redis_url, self.broker_url, self.uploads_url, self.results_url, self.model_url):
            secrets |= urls.secrets_in(url or "")
        return secrets - {""}

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process with these settings."""
        own = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        return {**os.environ, **{variable(name): str(value) for name, value in own.items()}}


def from_environment() -> Settings:
    """Read the settings at the start of a process. Exits with a line for each invalid setting."""
    try:
        return Settings()
    except SettingsError as error:
        sys.exit(str(error))


def terminal_language() -> str:
    """Return the language of the commands: that of `CAPTIOND_LANGUAGE`, else of the locale.

    Read from the environment, because an error of the settings has a language, too.
    """
    names = (variable("language"), "LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((os.environ[name] for name in names if os.environ.get(name)), "")
    language = re.split(r"[_.@]", locale)[0].lower()
    return language if language in LANGUAGES else SOURCE


def _names(value: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name for part in value.split(",") if (name := part.strip())]
