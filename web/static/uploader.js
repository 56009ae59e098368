// Sends the pictures of an open batch, a few at a time, until all are sent or the page is closed.
import { showConnection } from "./api.js";
import { deleteFile, exclusively, loadFile, pendingNames, storeFile } from "./pending.js";
import { upload } from "./upload.js";

/** Concurrent uploads: enough to use the bandwidth, few enough that the first captions arrive early. */
const MAX_UPLOADS = 3;
/** Seconds before an upload is tried again after a network error, or while the service is overloaded. */
const MIN_DELAY = 1;
const MAX_DELAY = 30;

export class Uploader {
  #sending = new Map();
  #running = false;
  #storing = 0;
  /** Whether the browser's storage is full, so that only this tab has some of the files. */
  storageFull = false;

  /** @param {object} batch @param {import("./items.js").Items} items */
  constructor(batch, items) {
    this.batch = batch;
    this.items = items;
  }

  /** @param {{name: string, file: File}[]} pictures */
  add(pictures) {
    this.#store(pictures.map(({ name, file }) => this.#add(name, file)).filter(Boolean));
    return this.run();
  }

  /** Resolves when nothing is left to be sent. If another tab sends the same batch, this one waits for it. */
  async run() {
    if (this.#running) return;
    this.#running = true;
    await exclusively(this.batch.id, async () => {
      // An earlier page may have left files, and other tabs may have stored some.
      for (const name of await pendingNames(this.batch.id)) {
        const item = this.#add(name, null);
        // The page was closed after the service had accepted it.
        if (!item && this.items.named(name).job) deleteFile(this.batch.id, name);
      }
      await Promise.all(Array.from({ length: MAX_UPLOADS }, () => this.#sendAll()));
    });
    this.#running = false;
    if (this.#next()) await this.run();
  }

  /** Whether only this tab has some of the files, yet or because the browser's storage is full. */
  get holdsFiles() {
    return this.#storing > 0 || this.storageFull;
  }

  /** Cancels a picture that was not accepted yet. */
  cancel(item) {
    this.items.update(item, { upload: "canceled" });
    this.#sending.get(item)?.abort();
    deleteFile(this.batch.id, item.name);
  }

  /** Sends a picture again whose upload failed or was canceled. */
  retry(item) {
    this.items.update(item, { upload: "waiting", problem: null });
    this.#store([item]);
    return this.run();
  }

  /** Adds a picture, or returns null if one of this name and size is there; renames another one. */
  #add(name, file) {
    let free = name;
    for (let number = 2, other; (other = this.items.named(free)); number += 1) {
      if (!file || (other.file?.size ?? other.job?.input?.bytes) === file.size) return null;
      free = name.replace(/(\.[^./]*)?$/, ` (${number})$1`);
    }
    return this.items.insert(free, { file, upload: "waiting" });
  }

  async #store(items) {
    this.#storing += 1;
    for (const item of items) {
      if (item.job || !item.file) continue;
      await storeFile(this.batch.id, item.name, item.file).catch(() => (this.storageFull = true));
      // It may have been accepted or given up meanwhile.
      if (item.upload !== "waiting" && item.upload !== "sending") deleteFile(this.batch.id, item.name);
    }
    this.#storing -= 1;
  }

  #next() {
    return this.items.list.find((item) => item.upload === "waiting");
  }

  async #sendAll() {
    for (let item = this.#next(); item; item = this.#next()) await this.#send(item);
  }

  async #send(item) {
    const controller = new AbortController();
    this.#sending.set(item, controller);
    this.items.update(item, { upload: "sending", sent: 0 });
    try {
      const file = item.file ?? (await loadFile(this.batch.id, item.name));
      if (file) this.items.putJob(await this.#sendFile(item, file, controller.signal));
      else this.items.remove(item); // another tab sent or canceled it
    } catch (problem) {
      if (item.upload === "sending") this.items.update(item, { upload: "failed", problem });
    }
    this.#sending.delete(item);
    deleteFile(this.batch.id, item.name);
  }

  /** Sends a file until the service accepts or refuses it. */
  async #sendFile(item, file, signal) {
    const form = new FormData();
    form.append("custom_id", item.name);
    form.append("image", file, item.name.split("/").pop());
    for (let delay = MIN_DELAY; ; delay = Math.min(delay * 2, MAX_DELAY)) {
      try {
        const job = await upload(this.batch.urls.items, form, (sent) => this.items.update(item, { sent }), signal);
        showConnection(true);
        return job;
      } catch (problem) {
        if (signal.aborted || (problem.status && problem.status !== 429 && problem.status < 502)) throw problem;
        if (!problem.status) showConnection(false);
        this.items.update(item, { sent: 0 });
        await pause(delay, signal);
      }
    }
  }
}

/** Waits for some seconds, or until the network is back. */
function pause(seconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    addEventListener("online", resolve, { once: true });
    signal.addEventListener("abort", resolve);
  });
}
