"""Log lines have the ids of their jobs, and none contains a secret of the settings."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from typing import Any

from common import logs
from common.logs import JsonFormatter, Subject, TextFormatter
from common.settings import Settings


def record(message: str, *arguments: object, error: Exception | None = None) -> logging.LogRecord:
    """A record as the handler's formatter gets it."""
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("web", logging.ERROR, "", 1, message, arguments, info)
    logs.add_subjects(made)
    return made


def as_json(made: logging.LogRecord, *secrets: str) -> dict[str, Any]:
    line = JsonFormatter(secrets, "worker").format(made)
    assert "\n" not in line
    members: dict[str, Any] = json.loads(line)
    return members


class TestSecrets:
    def test_a_secret_is_masked_in_the_message_and_in_the_traceback(self) -> None:
        formatter = TextFormatter({"p#ssword", "p#ssword and more", ""})
        try:
            raise OSError("no bucket named key:p#ssword@bucket")
        except OSError as error:
            line = formatter.format(record("%s failed", "p#ssword and more", error=error))

        assert "p#ssword" not in line
        assert "ERROR web: *** failed" in line and "key:***@bucket" in line

    def test_a_very_short_secret_is_not_masked(self) -> None:
        assert TextFormatter({"a"}).format(record("a job waits")).endswith("a job waits")

    def test_a_secret_is_masked_in_json_although_json_escapes_it(self) -> None:
        secret = 'p"ss\\wörd'
        error = OSError(f"no bucket named {secret}")

        members = as_json(record("%s failed", secret, error=error), secret)

        assert members["message"] == "*** failed"
        assert members["traceback"] == "OSError: no bucket named ***"


class TestJson:
    def test_a_line_is_an_object_with_time_level_logger_role_and_message(self) -> None:
        made = record("One line\nand another")
        made.created = 1_700_000_000.25

        assert as_json(made) == {
            "time": "2023-11-14T22:13:20.250Z",
            "level": "ERROR",
            "logger": "web",
            "role": "worker",
            "message": "One line\nand another",
        }


class TestSubjects:
    def test_a_line_has_the_ids_of_what_its_thread_works_on(self) -> None:
        with logs.about(Subject("job", "batch")):
            members = as_json(record("failed"))
            text = TextFormatter(()).format(record("failed"))

        assert (members["job_id"], members["batch_id"]) == ("job", "batch")
        assert text.endswith("failed [job_id=job batch_id=batch]")

    def test_a_line_about_several_jobs_has_all_ids(self) -> None:
        with logs.about(Subject("first", "batch"), Subject("second", "batch"), Subject("third")):
            members = as_json(record("out of memory"))

        assert (members["job_id"], members["batch_id"]) == (["first", "second", "third"], "batch")

    def test_inner_subjects_replace_outer_ones_until_they_end(self) -> None:
        with logs.about(Subject("first"), Subject("second")):
            with logs.about(Subject("second")):
                inner = as_json(record("failed"))
            outer = as_json(record("failed"))

        assert (inner["job_id"], outer["job_id"]) == ("second", ["first", "second"])
        assert "job_id" not in as_json(record("idle"))

    def test_another_thread_has_its_own_subjects(self) -> None:
        lines = []
        with logs.about(Subject("job")):
            thread = threading.Thread(target=lambda: lines.append(as_json(record("idle"))))
            thread.start()
            thread.join()

        assert "job_id" not in lines[0]


def test_a_process_with_the_setting_writes_json() -> None:
    """`captiond serve` gives its settings to its processes in the same way."""
    code = (
        "import logging; from common import logs; from common.settings import Settings;"
        "logs.configure(Settings(), 'web');"
        "logging.getLogger('web').warning('%s', 'a-password')"
    )
    environment = Settings(log="json", redis_url="redis://:a-password@host:6379/0").environment()

    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)

    members = json.loads(process.stderr)
    assert (members["role"], members["message"]) == ("web", "***")
