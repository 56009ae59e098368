// Captions that a person wrote: saves them on the service, and takes them back.
import { api, request } from "./api.js";

/** Captions in one request. */
const MAX_CAPTIONS = 500;

export class Edits {
  /** The captions by id that each change replaced, the newest change last. @type {Map<string, string | null>[]} */
  #earlier = [];

  constructor(items) {
    this.items = items;
  }

  get canUndo() {
    return this.#earlier.length > 0;
  }

  /** @param {Map<string, string | null>} captions by the job's id; null for what the model said */
  async save(captions) {
    const earlier = new Map([...captions.keys()].map((id) => [id, this.items.withJob(id).job.edited?.caption ?? null]));
    this.#earlier.push(earlier);
    await this.#send(captions);
  }

  /** Takes the last change back. */
  async undo() {
    await this.#send(this.#earlier.at(-1));
    this.#earlier.pop();
    this.items.changed();
  }

  async #send(captions) {
    const entries = [...captions];
    while (entries.length) {
      const body = { captions: Object.fromEntries(entries.splice(0, MAX_CAPTIONS)) };
      const { jobs } = await request(api("jobs"), "PATCH", body);
      for (const job of jobs) this.items.putJob(job);
    }
  }
}
