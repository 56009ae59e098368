"""Sizes and times of the chaos tests."""

from __future__ import annotations

#: Number of images in the large runs.
LARGE_RUN_IMAGES = 2000
#: Lease in seconds; short, to keep the runs short.
LEASE_SECONDS = 3.0
#: Lines about jobs that were lost in failovers of Redis, for the summary of the test report.
LOSSES: list[str] = []
