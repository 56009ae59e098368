// The pictures of one batch, and what can be done with them.
import { announce } from "./announce.js";
import { pageUrl, request } from "./api.js";
import { renderCard } from "./card.js";
import { copy } from "./copy.js";
import { byId, showProblem } from "./dom.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { captionOf, isFailed, isUnsent, Items } from "./items.js";
import { openBatches, rememberBatch } from "./open.js";
import { loadJobs, Poll } from "./poll.js";
import { Progress } from "./progress.js";
import { t, tn } from "./translate.js";

export class Workspace {
  #items = new Items();
  /** @type {import("./edits.js").Edits | null} */
  #edits = null;
  #filters = new Filters(() => this.#update());
  #progress = new Progress();
  #save = async (captions) => {
    const { Edits } = await import("./edits.js");
    this.#edits ??= new Edits(this.#items);
    await this.#edits.save(captions);
  };
  #grid;
  #poll;
  #editor = null;
  #uploader = null;
  #closed = new AbortController();
  /** The items that the filters let through. */
  #shown = [];
  #isDone = true;

  constructor(batch) {
    this.batch = batch;
    byId("workspace").hidden = byId("tools").hidden = false;
    byId("pages")?.remove();
    const actions = {
      open: (item) => this.#edit(item),
      copy: (item, button) => copy(captionOf(item), button),
      cancel: (item) => this.#cancel(item),
      retry: (item) => this.#retry(item),
      drawFile: async (file, parent) => (await import("./thumbnail.js")).drawFile(file, parent),
    };
    const { signal } = this.#closed;
    this.#grid = new Grid(byId("cards"), (item, card) => renderCard(item, card, actions), signal);
    byId("undo").onclick = () => this.#undo();
    byId("retry").onclick = () => this.#retryAll();
    byId("cancel").onclick = () => this.#cancelAll();
    byId("delete").onclick = () => this.#delete();
    byId("replace-open").onclick = async () => {
      const { openReplace } = await import("./replace.js");
      openReplace(this.#shown.filter(captionOf), this.#save);
    };
    byId("copy-all").onclick = () => {
      const lines = this.#shown.filter(captionOf).map((item) => `${item.name}\t${captionOf(item)}`);
      copy(lines.join("\n"), byId("copy-all"));
    };
    for (const link of document.querySelectorAll("[data-format]")) {
      link.href = `${batch.urls.results}?format=${link.dataset.format}`;
    }
    addEventListener("keydown", (event) => this.#onKey(event), { signal });
    addEventListener("beforeunload", (event) => {
      if (this.#uploader?.holdsFiles && this.#items.list.some(isUnsent)) event.preventDefault();
    });
    this.#items.addEventListener("change", () => this.#update(), { signal });
  }

  /** Whether pictures can be added. */
  get isOpen() {
    return this.batch.status === "open";
  }

  /** Shows the batch's jobs, sends what is left of it, and follows it. */
  async start(isNew) {
    if (!isNew) await this.#try(() => loadJobs(this.batch, this.#items));
    const onBatch = (batch) => {
      this.batch = batch;
      this.#update();
    };
    this.#poll = new Poll(this.batch, this.#items, onBatch, this.#closed.signal);
    if (this.isOpen && openBatches().includes(this.batch.id)) {
      const { pendingNames } = await import("./pending.js");
      if ((await pendingNames(this.batch.id)).length) (await this.#loadUploader()).run();
    }
  }

  /** Makes way for another batch. What is being sent goes on. */
  close() {
    this.#closed.abort();
  }

  /** @param {{name: string, file: File}[]} pictures */
  async add(pictures) {
    announce(tn("Sending {count} picture", "Sending {count} pictures", pictures.length));
    (await this.#loadUploader()).add(pictures);
    this.#poll.wake();
  }

  async #loadUploader() {
    const { Uploader } = await import("./uploader.js");
    return (this.#uploader ??= new Uploader(this.batch, this.#items));
  }

  #update() {
    const counts = this.#items.counts();
    const archive = this.batch.archive;
    this.#shown = this.#filters.apply(this.#items.list);
    this.#filters.show(counts);
    this.#grid.show(this.#shown);
    const notes = [];
    if (["waiting", "unpacking"].includes(archive?.status)) notes.push(t("unpacking the ZIP file"));
    if (this.batch.reason) notes.push(this.batch.reason);
    if (this.#uploader?.holdsFiles && counts.unsent) notes.push(t("keep this tab open until all are sent"));
    this.#progress.show(counts, notes);
    const isDone = !counts.unsent && !counts.open;
    if (isDone && !this.#isDone) announce(t("{done} of {all} done", { done: counts.all, all: counts.all }));
    this.#isDone = isDone;
    byId("nothing").hidden = this.#shown.length || !counts.all;
    byId("undo").hidden = !this.#edits?.canUndo;
    byId("retry").hidden = !isDone || !(counts.failed + counts.canceled);
    byId("copy-all").disabled = byId("replace-open").disabled = !counts.succeeded;
    if (archive?.error) showProblem("problem", archive.error);
  }

  /** Runs an action and reads its results, or shows its problem. */
  async #try(action) {
    showProblem("problem", null);
    try {
      await action();
      this.#poll?.wake();
    } catch (problem) {
      showProblem("problem", problem);
    }
  }

  async #edit(item) {
    const { Editor } = await import("./editor.js");
    this.#editor ??= new Editor(() => this.#shown, this.#save, (last) => this.#grid.focus(last));
    this.#editor.open(item);
  }

  #undo() {
    return this.#try(async () => {
      await this.#edits.undo();
      announce(t("The last change was taken back."));
    });
  }

  #cancel(item) {
    if (!item.job) this.#uploader.cancel(item);
    else this.#try(async () => this.#items.putJob(await request(item.job.urls.cancel, "POST")));
  }

  #cancelAll() {
    for (const item of this.#items.list.filter(isUnsent)) this.#uploader.cancel(item);
    this.#try(() => request(this.batch.urls.cancel, "POST"));
  }

  /** Tries a failed or canceled picture again. */
  #retry(item) {
    if (!item.job) this.#uploader.retry(item);
    else this.#try(async () => this.#items.putJob(await request(item.job.urls.retry, "POST")));
  }

  #retryAll() {
    const failed = this.#items.list.filter(isFailed);
    for (const item of failed) if (!item.job) this.#uploader.retry(item);
    if (!failed.some((item) => item.job)) return;
    this.#try(async () => {
      this.batch = await request(this.batch.urls.retry, "POST");
      await loadJobs(this.batch, this.#items);
    });
  }

  #delete() {
    this.#try(async () => {
      await request(this.batch.urls.self, "DELETE");
      await (await import("./pending.js")).deleteFiles(this.batch.id);
      rememberBatch(this.batch.id, false);
      location.href = pageUrl("");
    });
  }

  #onKey(event) {
    if (event.target.closest("input, textarea, dialog")) return;
    if (event.key === "z" && (event.ctrlKey || event.metaKey) && this.#edits?.canUndo) this.#undo();
    else if (event.key === "/") byId("search").focus();
    else return;
    event.preventDefault();
  }
}
