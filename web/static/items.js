// The pictures of one batch: files that are still to be sent, and jobs of the service.

// An item has a name (its `custom_id`), and a job once the service has accepted it. Before that, `file` is to be sent
// (null if only the browser's storage has it), `upload` is waiting, sending, failed or canceled, `sent` is the fraction
// sent, and `problem` says why it failed. Each change raises `version`.

export const statusOf = (item) => item.job?.status ?? item.upload;
export const captionOf = (item) => item.job?.edited?.caption ?? item.job?.output?.caption ?? "";
/** The translation of a caption, with its language; undefined for a caption that a person wrote. */
export const translationOf = ({ job }) => (job?.edited ? undefined : job?.output?.translated);
/** Whether nobody has checked a caption that the model is unsure of. */
export const isUnsure = (item) => Boolean(item.job?.output?.unsure && !item.job.edited);
export const isUnsent = (item) => ["waiting", "sending"].includes(statusOf(item));
export const isOpen = (item) => ["queued", "processing"].includes(statusOf(item));
export const isFailed = (item) => ["failed", "canceled"].includes(statusOf(item));

const { compare } = new Intl.Collator(undefined, { numeric: true });

/** Items in the order of their names. Fires `change`, at most once for each frame. */
export class Items extends EventTarget {
  list = [];
  #byName = new Map();
  #byJob = new Map();
  #scheduled = false;
  #isUnsorted = false;

  withJob(id) {
    return this.#byJob.get(id);
  }

  named(name) {
    return this.#byName.get(name);
  }

  /** Records what the service says about a job; returns whether it is new. */
  putJob(job) {
    const named = this.#byName.get(job.custom_id);
    const known = this.#byJob.get(job.id) ?? (named?.job ? null : named);
    if (known && JSON.stringify(known.job) === JSON.stringify(job)) return false;
    const item = known ?? this.insert(job.custom_id ?? job.input?.filename ?? "");
    this.#byJob.set(job.id, item);
    this.update(item, { job, upload: "", file: null, problem: null });
    return true;
  }

  insert(name, values = {}) {
    const item = { name, file: null, upload: "", sent: 0, job: null, problem: null, version: 0, ...values };
    this.list.push(item);
    this.#isUnsorted = true;
    if (!this.#byName.has(name)) this.#byName.set(name, item);
    this.changed();
    return item;
  }

  update(item, changes) {
    Object.assign(item, changes);
    item.version += 1;
    this.changed();
  }

  remove(item) {
    this.list.splice(this.list.indexOf(item), 1);
    this.#byName.delete(item.name);
    this.changed();
  }

  changed() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden tab has no frames, but goes on sending.
    const schedule = document.hidden ? setTimeout : requestAnimationFrame;
    schedule(() => {
      this.#scheduled = false;
      // Uploads do not end in the order in which they began.
      if (this.#isUnsorted) this.list.sort((a, b) => compare(a.name, b.name));
      this.#isUnsorted = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  /** Numbers of items: of all, in each state, and those that a filter shows. */
  counts() {
    const counts = { all: this.list.length, unsent: 0, open: 0, succeeded: 0, failed: 0, canceled: 0, edited: 0, unsure: 0 };
    for (const item of this.list) {
      counts[isUnsent(item) ? "unsent" : isOpen(item) ? "open" : statusOf(item)] += 1;
      counts.edited += Boolean(item.job?.edited);
      counts.unsure += isUnsure(item);
    }
    return counts;
  }
}
