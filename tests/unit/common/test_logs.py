"""No log line shows a secret of the settings, whoever wrote the line."""

from __future__ import annotations

import logging

from common.logs import RedactingFormatter


def test_a_secret_is_hidden_in_the_message_and_in_the_traceback() -> None:
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


def test_a_secret_of_a_few_characters_does_not_hide_every_word_that_has_them() -> None:
    record = logging.LogRecord("web", logging.INFO, "", 1, "a job waits", (), None)

    assert RedactingFormatter({"a"}).format(record).endswith("a job waits")
