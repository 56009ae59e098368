"""The sentence for a job that has no caption and no error, on the pages that work without JavaScript.

`static/status.js` has the same sentences for the scripts; a test compares them.
"""

from __future__ import annotations

from common.jobs import Job, Status
from common.translation import Message, _, ngettext


def status_message(job: Job) -> Message:
    """What happens to the job: its state, or its place in the queue."""
    if job.status is Status.CANCELED:
        return _("Canceled.")
    if job.status is Status.PROCESSING:
        return _("Captioning …")
    position = job.progress.position if job.progress else 0
    if not position:
        return _("Next in line")
    return ngettext("{count} picture before this one", "{count} pictures before this one", position)
