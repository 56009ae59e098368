// Follows a job to its end by asking for it, less and less often, and not at all while nobody looks.
import { asProblem } from "./problem.js";

/** Milliseconds between two questions: at first, and at most. */
const FIRST = 400;
const LONGEST = 5000;
/** Each pause is this much longer than the one before. */
const GROWTH = 1.5;

/**
 * @param {object} job
 * @param {{onChange: (job: object) => void, signal: AbortSignal}} options
 * @returns {Promise<object>} the job in its last state; rejects with a problem when the job is gone
 */
export async function follow(job, { onChange, signal }) {
  let pause = FIRST;
  let etag = "";
  while (job.status === "queued" || job.status === "processing") {
    await sleep(pause * (0.8 + 0.4 * Math.random()));
    await visible();
    signal.throwIfAborted();
    pause = Math.min(pause * GROWTH, LONGEST);
    let answer;
    try {
      answer = await fetch(job.urls.self, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
    } catch {
      continue; // the network is away; the job is not
    }
    if (answer.status === 304 || answer.status >= 500) continue;
    if (!answer.ok) throw asProblem(await answer.text(), answer.status);
    etag = answer.headers.get("ETag") ?? "";
    const seen = await answer.json();
    if (seen.progress?.position !== job.progress?.position) pause = FIRST * 2;
    job = seen;
    onChange(job);
  }
  return job;
}

/** @param {number} milliseconds */
function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Resolves at once while the page is seen, else when it is seen again. */
function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}
