// Follows the jobs of a batch on the service.
import { request } from "./api.js";
import { isOpen } from "./items.js";

/** Milliseconds between two polls: while captions arrive, and at most. */
const MIN_INTERVAL = 700;
const MAX_INTERVAL = 4000;
/** Jobs of one request: of a first reading, and of a poll. */
const PAGE_SIZE = 500;
const POLL_SIZE = 100;

/** Reads all jobs of the batch, from `cursor` on; returns whether any was new or has changed. */
export async function loadJobs(batch, items, cursor = "") {
  let changed = false;
  do {
    const page = await loadPage(batch, items, cursor, PAGE_SIZE);
    changed ||= page.changed;
    cursor = page.next;
  } while (cursor);
  return changed;
}

/** Polls until the batch is completed, and after `wake` again. Pauses while the page is hidden. `signal` ends it. */
export class Poll {
  #timer = 0;
  #interval = MIN_INTERVAL;

  /** @param {(batch: object) => void} onBatch gets the batch whenever it was read */
  constructor(batch, items, onBatch, signal) {
    Object.assign(this, { batch, items, onBatch, signal });
    addEventListener("online", () => this.wake(), { signal });
    document.addEventListener("visibilitychange", () => this.wake(), { signal });
    this.wake();
  }

  wake() {
    this.#interval = MIN_INTERVAL;
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (!document.hidden && !this.signal.aborted) this.#timer = setTimeout(() => this.#poll(), this.#interval);
  }

  async #poll() {
    try {
      this.batch = await request(this.batch.urls.self);
      const changed = await loadChanges(this.batch, this.items);
      this.#interval = changed ? MIN_INTERVAL : Math.min(this.#interval * 1.5, MAX_INTERVAL);
      this.onBatch(this.batch);
      if (!["open", "in_progress"].includes(this.batch.status) && !this.items.list.some(isOpen)) return;
    } catch (problem) {
      if (problem.status === 404 || problem.status === 410) return;
      this.#interval = MAX_INTERVAL;
    }
    this.#schedule();
  }
}

/**
 * Reads the jobs that may have changed; returns whether any has. Workers take jobs in the order of submission, so
 * behind a page that ends with a waiting job all wait.
 */
async function loadChanges(batch, items) {
  const known = items.list.filter((item) => item.job).sort((a, b) => (a.job.id < b.job.id ? -1 : 1));
  let changed = false;
  let index = known.findIndex(isOpen);
  while (index >= 0) {
    const page = await loadPage(batch, items, known[index - 1]?.job.id, POLL_SIZE);
    changed ||= page.changed;
    const last = page.jobs.at(-1);
    if (!last || last.status === "queued") break;
    index = known.findIndex((item) => item.job.id > last.id && isOpen(item));
  }
  // Another tab or client adds pictures, or an archive is being unpacked.
  const isBehind = batch.request_counts.total > known.length;
  return (isBehind && (await loadJobs(batch, items, known.at(-1)?.job.id))) || changed;
}

async function loadPage(batch, items, cursor, limit) {
  const query = new URLSearchParams(cursor ? { limit, cursor } : { limit });
  const { jobs, next } = await request(`${batch.urls.jobs}?${query}`);
  return { jobs, next, changed: jobs.filter((job) => items.putJob(job)).length > 0 };
}
