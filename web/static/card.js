// One picture on the page, from its upload to its caption.
import { copy } from "./copy.js";

const SETTLED = new Set(["succeeded", "failed", "canceled"]);

export class Card {
  #controller = new AbortController();
  #actions;
  #body;
  #failed = false;
  #shown = "";
  #blob = "";

  /**
   * @param {{file?: File, name: string, job?: object}} subject
   * @param {{retry: () => void, cancel: () => void, remove: () => void, changed: () => void}} on
   */
  constructor({ file, name, job }, on) {
    this.file = file;
    this.name = name;
    this.job = job ?? null;
    this.canceled = false;
    this.on = on;
    this.element = make("li", "card");
    this.element.append(this.#thumb(), (this.#body = make("div", "body")));
    this.#body.append(make("p", "file", name), (this.#actions = make("div", "actions")));
    this.#say(waitingLine("Waiting to be sent"));
    this.#offer(["Cancel", on.cancel]);
  }

  /** Whether nothing more will happen by itself. */
  get settled() {
    return this.#failed || this.canceled || (this.job !== null && SETTLED.has(this.job.status));
  }

  signal() {
    return this.#controller.signal;
  }

  abort() {
    this.canceled = true;
    this.#controller.abort();
    this.#say(make("p", "state", "Canceled."));
    this.#offer(["Remove", () => this.remove()]);
    this.on.changed();
  }

  /** @param {number} part of the upload that is done, 0 to 1 */
  uploading(part) {
    this.#failed = false;
    if (this.#shown !== "uploading") {
      const bar = make("progress");
      bar.max = 1;
      bar.setAttribute("aria-label", `Sending ${this.name}`);
      const line = make("div");
      line.append(make("p", "state", "Sending …"), bar);
      this.#say(line, "uploading");
      this.#offer(["Cancel", this.on.cancel]);
    }
    this.#body.querySelector("progress").value = part;
    if (part === 1) this.#say(waitingLine("Checking the picture"), "checking");
  }

  /** @param {object} job */
  show(job) {
    this.job = job;
    this.element.dataset.status = job.status;
    if (!this.file && job.urls.image && !this.element.querySelector("img")) {
      this.element.querySelector(".thumb").append(picture(`${job.urls.image}?size=320`));
    }
    if (job.status === "succeeded") this.#caption(job.output.caption);
    else if (job.status === "failed") this.fail(job.error);
    else if (job.status === "canceled") {
      this.#say(make("p", "state", "Canceled."));
      this.#offer(["Remove", () => this.remove()]);
    } else {
      const text = place(job);
      if (this.#shown !== text) {
        this.#say(waitingLine(text), text);
        this.#offer(["Cancel", this.on.cancel]);
      }
    }
    this.on.changed();
  }

  /** @param {{title: string, detail: string}} problem */
  fail(problem) {
    this.#failed = true;
    this.element.dataset.status = "failed";
    const line = make("p", "error");
    line.append(make("strong", "", `${problem.title}.`), ` ${problem.detail}`);
    this.#say(line);
    const retry = ["Retry", () => this.#retry()];
    this.#offer(...(this.file ? [retry] : []), ["Remove", () => this.remove()]);
    this.on.changed();
  }

  remove() {
    this.#controller.abort();
    if (this.#blob) URL.revokeObjectURL(this.#blob);
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    this.element.remove();
    (next?.querySelector("button") ?? document.getElementById("images")).focus();
    this.on.remove();
  }

  #retry() {
    this.#failed = false;
    this.job = null;
    this.#controller = new AbortController();
    this.#say(waitingLine("Waiting to be sent"));
    this.#offer(["Cancel", this.on.cancel]);
    this.on.retry();
  }

  #caption(text) {
    this.#say(make("p", "caption", text));
    const button = action("Copy", async () => {
      button.textContent = (await copy(text)) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    button.setAttribute("aria-label", `Copy the caption of ${this.name}`);
    this.#actions.replaceChildren(button, action("Remove", () => this.remove(), this.name));
  }

  #thumb() {
    const thumb = make("div", "thumb");
    if (this.file?.type.startsWith("image/")) {
      this.#blob = URL.createObjectURL(this.file);
      const image = picture(this.#blob);
      image.addEventListener("error", () => image.remove());
      thumb.append(image);
    }
    return thumb;
  }

  /** Puts `line` in the place where the card says how it stands. */
  #say(line, shown = "") {
    this.#shown = shown;
    line.classList.add("standing");
    const before = this.#body.querySelector(":scope > .standing");
    if (before) before.replaceWith(line);
    else this.#body.prepend(line);
  }

  #offer(...offers) {
    this.#actions.replaceChildren(...offers.map(([label, run]) => action(label, run, this.name)));
  }
}

/** @param {object} job */
function place(job) {
  if (job.status === "processing") return "Looking at it";
  const before = job.progress?.position ?? 0;
  const eta = job.progress?.eta_seconds;
  const time = eta > 5 ? `, about ${eta < 90 ? `${Math.round(eta)} s` : `${Math.round(eta / 60)} min`}` : "";
  if (!before) return "Next in line";
  return `${before} ${before === 1 ? "picture" : "pictures"} before yours${time}`;
}

function waitingLine(text) {
  const line = make("p", "state");
  const spinner = make("span", "spinner");
  spinner.setAttribute("aria-hidden", "true");
  line.append(spinner, text + " …");
  return line;
}

function picture(source) {
  const image = make("img");
  image.src = source;
  image.alt = "";
  image.loading = "lazy";
  return image;
}

function action(label, run, subject = "") {
  const button = make("button", "quiet", label);
  button.type = "button";
  if (subject) button.setAttribute("aria-label", `${label}: ${subject}`);
  button.addEventListener("click", run);
  return button;
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @returns {HTMLElementTagNameMap[Name]}
 */
function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
