"""No log line contains a secret of the settings."""

from __future__ import annotations

import logging

from common.logs import RedactingFormatter


def test_a_secret_is_masked_in_the_message_and_in_the_traceback() -> None:
    formatter = RedactingFormatter({"p#ssword", "p#ssword and more", ""})
    try:
        raise OSError("no bucket named key:p#ssword@bucket")
    except OSError as error:
        record = logging.LogRecord(
            "web", logging.ERROR, "", 1, "%s failed", ("p#ssword and more",), (OSError, error, None)
        )

    line = formatter.format(record)

    assert "p#ssword" not in line
    assert "ERROR web: *** failed" in line and "key:***@bucket" in line


def test_a_very_short_secret_is_not_masked() -> None:
    record = logging.LogRecord("web", logging.INFO, "", 1, "a job waits", (), None)

    assert RedactingFormatter({"a"}).format(record).endswith("a job waits")
