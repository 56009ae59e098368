// A card: one picture on the page, from its upload to its caption.
import { copy } from "./copy.js";

const TERMINAL_STATUSES = new Set(["succeeded", "failed", "canceled"]);

export class Card {
  #controller = new AbortController();
  #actions;
  #body;
  #failed = false;
  #stateKey = "";
  #previewUrl = "";

  /**
   * @param {{file?: File, name: string, job?: object}} source
   * @param {{retry: () => void, cancel: () => void, remove: () => void, changed: () => void}} callbacks
   */
  constructor({ file, name, job }, callbacks) {
    this.file = file;
    this.name = name;
    this.job = job ?? null;
    this.canceled = false;
    this.callbacks = callbacks;
    this.element = createElement("li", "card");
    this.element.append(this.#createThumbnail(), (this.#body = createElement("div", "body")));
    this.#body.append(createElement("p", "file", name), (this.#actions = createElement("div", "actions")));
    this.#setState(spinnerLine("Waiting to be sent"));
    this.#setActions(["Cancel", callbacks.cancel]);
  }

  /** Whether the card has reached its final state, unless the user retries. */
  get finished() {
    return this.#failed || this.canceled || (this.job !== null && TERMINAL_STATUSES.has(this.job.status));
  }

  signal() {
    return this.#controller.signal;
  }

  abort() {
    this.canceled = true;
    this.#controller.abort();
    this.#showCanceled();
    this.callbacks.changed();
  }

  /** @param {number} fraction of the upload that is complete, 0 to 1 */
  showUpload(fraction) {
    this.#failed = false;
    if (this.#stateKey !== "uploading") {
      const bar = createElement("progress");
      bar.max = 1;
      bar.setAttribute("aria-label", `Sending ${this.name}`);
      const state = createElement("div");
      state.append(createElement("p", "state", "Sending …"), bar);
      this.#setState(state, "uploading");
      this.#setActions(["Cancel", this.callbacks.cancel]);
    }
    this.#body.querySelector("progress").value = fraction;
    if (fraction === 1) this.#setState(spinnerLine("Checking the picture"), "checking");
  }

  /** @param {object} job */
  showJob(job) {
    this.job = job;
    this.element.dataset.status = job.status;
    // Also for a chosen file that the browser cannot show, such as HEIC.
    if (job.urls.image && !this.element.querySelector("img")) {
      this.element.querySelector(".thumb").append(createImage(`${job.urls.image}?size=320`));
    }
    if (job.status === "succeeded") this.#showCaption(job.output.caption);
    else if (job.status === "failed") this.showProblem(job.error);
    else if (job.status === "canceled") this.#showCanceled();
    else {
      const text = progressText(job);
      if (this.#stateKey !== text) {
        this.#setState(spinnerLine(text), text);
        this.#setActions(["Cancel", this.callbacks.cancel]);
      }
    }
    this.callbacks.changed();
  }

  /** @param {{title: string, detail: string}} problem */
  showProblem(problem) {
    this.#failed = true;
    this.element.dataset.status = "failed";
    const line = createElement("p", "error");
    line.append(createElement("strong", "", `${problem.title}.`), ` ${problem.detail}`);
    this.#setState(line);
    const retry = ["Retry", () => this.#retry()];
    this.#setActions(...(this.file ? [retry] : []), ["Remove", () => this.remove()]);
    this.callbacks.changed();
  }

  remove() {
    this.#controller.abort();
    if (this.#previewUrl) URL.revokeObjectURL(this.#previewUrl);
    const neighbor = this.element.nextElementSibling ?? this.element.previousElementSibling;
    this.element.remove();
    (neighbor?.querySelector("button") ?? document.getElementById("images")).focus();
    this.callbacks.remove();
  }

  #retry() {
    this.#failed = false;
    this.job = null;
    this.#controller = new AbortController();
    this.#setState(spinnerLine("Waiting to be sent"));
    this.#setActions(["Cancel", this.callbacks.cancel]);
    this.callbacks.retry();
  }

  #showCanceled() {
    this.#setState(createElement("p", "state", "Canceled."));
    this.#setActions(["Remove", () => this.remove()]);
  }

  #showCaption(caption) {
    this.#setState(createElement("p", "caption", caption));
    const button = createButton("Copy", async () => {
      button.textContent = (await copy(caption)) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    button.setAttribute("aria-label", `Copy the caption of ${this.name}`);
    this.#actions.replaceChildren(button, createButton("Remove", () => this.remove(), this.name));
  }

  #createThumbnail() {
    const thumbnail = createElement("div", "thumb");
    if (this.file?.type.startsWith("image/")) {
      this.#previewUrl = URL.createObjectURL(this.file);
      const image = createImage(this.#previewUrl);
      image.addEventListener("error", () => image.remove());
      thumbnail.append(image);
    }
    return thumbnail;
  }

  /** Replaces the element that shows the card's state; `key` identifies the state. */
  #setState(element, key = "") {
    this.#stateKey = key;
    element.classList.add("card-state");
    const current = this.#body.querySelector(":scope > .card-state");
    if (current) current.replaceWith(element);
    else this.#body.prepend(element);
  }

  #setActions(...actions) {
    this.#actions.replaceChildren(...actions.map(([label, onClick]) => createButton(label, onClick, this.name)));
  }
}

/** @param {object} job that is not finished */
function progressText(job) {
  if (job.status === "processing") return "Captioning";
  const position = job.progress?.position ?? 0;
  const eta = job.progress?.eta_seconds;
  const time = eta > 5 ? `, about ${eta < 90 ? `${Math.round(eta)} s` : `${Math.round(eta / 60)} min`}` : "";
  if (!position) return "Next in line";
  return `${position} ${position === 1 ? "picture" : "pictures"} before yours${time}`;
}

function spinnerLine(text) {
  const line = createElement("p", "state");
  const spinner = createElement("span", "spinner");
  spinner.setAttribute("aria-hidden", "true");
  line.append(spinner, text + " …");
  return line;
}

function createImage(url) {
  const image = createElement("img");
  image.src = url;
  image.alt = "";
  image.loading = "lazy";
  return image;
}

function createButton(label, onClick, subject = "") {
  const button = createElement("button", "quiet", label);
  button.type = "button";
  if (subject) button.setAttribute("aria-label", `${label}: ${subject}`);
  button.addEventListener("click", onClick);
  return button;
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @returns {HTMLElementTagNameMap[Name]}
 */
function createElement(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
