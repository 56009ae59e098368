// Polls a job until it is finished, at growing intervals. Polling pauses while the page is hidden.
import { asProblem } from "./problem.js";

/** Milliseconds between two polls. */
const MIN_INTERVAL = 400;
const MAX_INTERVAL = 5000;
/** Factor between two successive intervals. */
const BACKOFF = 1.5;

/**
 * @param {object} job
 * @param {{onChange: (job: object) => void, signal: AbortSignal}} options
 * @returns {Promise<object>} the finished job; rejects with a problem if the job no longer exists
 */
export async function poll(job, { onChange, signal }) {
  let interval = MIN_INTERVAL;
  let etag = "";
  while (job.status === "queued" || job.status === "processing") {
    await sleep(interval * (0.8 + 0.4 * Math.random()));
    await pageVisible();
    signal.throwIfAborted();
    interval = Math.min(interval * BACKOFF, MAX_INTERVAL);
    let response;
    try {
      response = await fetch(job.urls.self, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
    } catch {
      continue; // a network error does not affect the job
    }
    if (response.status === 304 || response.status >= 500) continue;
    if (!response.ok) throw asProblem(await response.text(), response.status);
    etag = response.headers.get("ETag") ?? "";
    const updated = await response.json();
    if (updated.progress?.position !== job.progress?.position) interval = MIN_INTERVAL * 2;
    job = updated;
    onChange(job);
  }
  return job;
}

/** @param {number} milliseconds */
function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Resolves when the page is visible. */
function pageVisible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}
