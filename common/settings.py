"""Every knob of the service, documented once; the only place that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.signing import signing_key

#: The checkout (or installation) that holds `models/demo` and a `student_epoch6.pt` placed by hand.
PROJECT_ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """The settings of one process, read from `CAPTIOND_*` environment variables.

    Raises `pydantic.ValidationError`, which names the variable, when a value cannot be used.
    """

    model_config = SettingsConfigDict(
        env_prefix="CAPTIOND_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # a secret with a slip in it is a secret still
    )

    data: Path = Field(Path("data"), description="Folder for uploads, logs, fetched weights and the private Redis.")
    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port the web server listens on.")
    insecure: bool = Field(
        False, description="Serve on an address that other machines reach although there are no API keys."
    )
    hosts: str = Field(
        "",
        description="Names, divided by commas, by which the service may be called without API keys, beside "
        "`CAPTIOND_HOST`, `localhost` and every IP address.",
    )
    api_keys: str = Field(
        "",
        description="API keys beside those of the file `DATA/keys`, as `captiond keys add` shows them: "
        "`NAME:SCOPES:SHA256`, divided by spaces or commas.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        description="Number of proxies in front of the web server, each of which adds to `X-Forwarded-For`, and which "
        "set `X-Forwarded-Proto` and `X-Forwarded-Prefix`.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged: DEBUG, INFO, WARNING or ERROR."
    )

    redis_url: str | None = Field(
        None,
        description="Redis that holds the jobs, e.g. `redis://127.0.0.1:6379/0`. Unset, `captiond serve` starts a "
        "private one; a worker or web server started by hand uses `redis://127.0.0.1:6379/0`.",
    )
    broker_url: str | None = Field(None, description="Celery's broker; unset, the Redis that holds the jobs.")
    uploads_url: str | None = Field(
        None,
        description="Where pictures are kept, any fsspec URL (`s3://bucket/prefix`); unset, `DATA/uploads`. "
        "On a file share, a folder in it and not the mount point.",
    )

    model: str = Field(
        "auto",
        description="What captions: `auto` (the deployed student, else the demo), `demo`, a `.pt` file, a folder in "
        "Hugging Face form, or a hub id.",
    )
    model_url: str = Field(
        "https://drive.google.com/uc?id=1w7hY_dpYc-QJ_qUzBkz-2uBqxnfS0lko",
        description="Where `auto` downloads `student_epoch6.pt` from (Google Drive, by gdown).",
    )
    processor: str = Field(
        "Salesforce/blip-image-captioning-base",
        description="Tokenizer and picture settings for a `.pt` student: a hub id or a local folder.",
    )
    text_heads: PositiveInt = Field(8, description="Attention heads of a `.pt` student's text decoder.")
    vision_heads: PositiveInt = Field(12, description="Attention heads of a `.pt` student's vision encoder.")
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto",
        description="Arithmetic of the model: `fp32` is exact, `bf16`, `fp16` and `int8` are faster where the "
        "processor has them; `auto` measures which one pays, and says so.",
    )
    beams: PositiveInt = Field(5, description="Beams of the search for a caption.")
    max_length: int = Field(32, ge=2, description="Longest caption, in tokens, with its start and end token.")
    min_length: int = Field(0, ge=0, description="Shortest caption, in tokens, with its start and end token.")
    length_penalty: float = Field(
        1.0,
        ge=0,
        description="Power of a caption's length that its log-probability is divided by; more favours longer.",
    )
    prompt: str = Field("", description="Words that every caption begins with, for a model that was trained with them.")
    max_batch: PositiveInt = Field(8, description="Most pictures in one call of the model.")

    lease_seconds: PositiveFloat = Field(
        30.0, description="How long a worker may be silent before its jobs are given to another."
    )
    max_attempts: PositiveInt = Field(3, description="How often a job is tried before it fails as `worker-lost`.")
    retention: PositiveFloat = Field(7 * 86400.0, description="Seconds after which a job and its picture are deleted.")

    max_upload_bytes: PositiveInt = Field(20 * 2**20, description="Largest picture accepted, in bytes.")
    max_pixels: PositiveInt = Field(50_000_000, description="Largest picture accepted, in pixels (width x height).")
    max_batch_items: PositiveInt = Field(1000, description="Most pictures in one batch request.")
    max_batch_bytes: PositiveInt = Field(512 * 2**20, description="Largest batch request accepted, in bytes.")
    max_open_jobs: PositiveInt = Field(
        10_000,
        description="Jobs that may wait or run at once; more are refused with 503 until some are done.",
    )
    max_open_jobs_per_key: int = Field(
        5_000, ge=0, description="Jobs that may wait or run at once for one API key; 0 sets no limit."
    )
    max_bytes_per_key_and_day: int = Field(
        0, ge=0, description="Bytes of pictures that one API key may send in a day (UTC); 0 sets no limit."
    )
    submits_per_minute: int = Field(
        30_000,
        ge=0,
        description="Requests that change something, in a minute, for an API key, or for an address where there are "
        "no keys (this machine's own is not counted); 0 sets no limit.",
    )
    reads_per_minute: int = Field(120_000, ge=0, description="Likewise for requests that only read.")
    ready_seconds: float = Field(
        10.0, ge=1, description="A worker not heard for this long is no longer counted as ready."
    )

    fetch_urls: bool = Field(False, description="Whether a picture may be given by its URL, for the server to fetch.")
    webhook_secret: str | None = Field(
        None,
        description="What webhooks are signed with, `whsec_` and 24 to 64 bytes in base64; several with commas between "
        "them while you change it. Unset, the service makes one: `captiond webhook-secret` prints it.",
    )
    allow_local_urls: bool = Field(
        False,
        description="Whether webhooks and pictures' URLs may be `http:`, on any port, and inside the server's own "
        "network; only for where nobody but you sends pictures.",
    )

    @field_validator("webhook_secret")
    @classmethod
    def _can_sign(cls, secrets: str | None) -> str | None:
        for secret in secrets.split(",") if secrets else ():
            signing_key(secret)
        return secrets

    @property
    def redis_location(self) -> str:
        """URL of the Redis that holds the jobs."""
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @property
    def broker_location(self) -> str:
        """URL of Celery's broker. Celery spells a Unix socket's scheme `redis+socket`, redis-py `unix`."""
        url = self.broker_url or self.redis_location
        return "redis+socket" + url.removeprefix("unix") if url.startswith("unix:") else url

    @property
    def uploads_location(self) -> str:
        """fsspec URL of the folder that holds the uploaded pictures."""
        # No `as_uri`: fsspec takes the path as it is, and would keep pictures in a folder named `my%20data`.
        return self.uploads_url or f"file://{self.data.absolute() / 'uploads'}"

    @property
    def keys_file(self) -> Path:
        """The file of the API keys; keys are needed as soon as it exists."""
        return self.data / "keys"

    @property
    def caption_key(self) -> str:
        """The generation settings that, beside picture and model, decide a caption; part of the cache's key."""
        lengths = f"length{self.min_length}-{self.max_length}-{self.length_penalty:g}"
        return f"{self.precision}-beams{self.beams}-{lengths}-{self.prompt}"

    def environment(self) -> dict[str, str]:
        """The environment of a child process that shall have these settings."""
        own = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        return {**os.environ, **{f"CAPTIOND_{name.upper()}": str(value) for name, value in own.items()}}
