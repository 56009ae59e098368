"""The sentence for a job that has no caption and no error, on the pages that work without JavaScript.

`static/status.js` has the same sentences for the start page; a test compares them.
"""

from __future__ import annotations

from common.jobs import Job, Status
from common.translation import Message, _, ngettext

#: Seconds below which no estimate is shown, and from which it is shown in minutes.
MIN_ETA, MINUTES_FROM = 5, 90


def status_message(job: Job) -> Message:
    """What happens to the job: its state, or its place in the queue with the estimated time."""
    if job.status is Status.CANCELED:
        return _("Canceled.")
    if job.status is Status.PROCESSING:
        return _("Captioning …")
    position = job.progress.position if job.progress else 0
    eta = (job.progress.eta_seconds if job.progress else None) or 0
    if not position:
        return _("Next in line …")
    if eta <= MIN_ETA:
        return ngettext("{count} picture before yours …", "{count} pictures before yours …", position)
    if eta < MINUTES_FROM:
        time = _("about {seconds} s", seconds=round(eta))
    else:
        time = _("about {minutes} min", minutes=round(eta / 60))
    return ngettext(
        "{count} picture before yours, {time} …", "{count} pictures before yours, {time} …", position, time=time
    )
