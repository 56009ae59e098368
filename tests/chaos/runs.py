"""Sizes and times of the chaos tests."""

from __future__ import annotations

#: Number of images in the large runs.
MANY = 2000
#: Lease in seconds; short, to keep the runs short.
LEASE = 3.0
