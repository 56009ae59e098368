// The dialog that shows a picture, and in which its caption is chosen or written.
import { api, pageUrl } from "./api.js";
import { byId, create, showProblem } from "./dom.js";
import { captionOf, translationOf } from "./items.js";
import { t } from "./translate.js";

export class Editor {
  #dialog = byId("editor");
  #text = byId("editor-caption");
  #item = null;

  /**
   * @param {() => object[]} items that the dialog goes through
   * @param {(captions: Map<string, string | null>) => Promise<void>} save
   * @param {(item: object) => void} onClose gets the item that was shown last
   */
  constructor(items, save, onClose) {
    Object.assign(this, { items, save });
    this.#dialog.onclose = () => onClose(this.#item);
    this.#dialog.onclick = (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // the backdrop
    };
    byId("editor-close").onclick = () => this.#dialog.close();
    byId("editor-previous").onclick = () => this.#go(-1);
    byId("editor-next").onclick = () => this.#go(1);
    byId("editor-model").onclick = () => this.#write(this.#item.job.output.caption);
    byId("editor-form").onsubmit = async (event) => {
      event.preventDefault();
      const item = this.#item;
      const next = this.#neighbor(1);
      try {
        await this.#save();
      } catch (problem) {
        return showProblem("editor-error", problem);
      }
      if (!this.#dialog.open || this.#item !== item) return; // the person has gone on
      if (next) this.open(next);
      else this.#dialog.close();
    };
    this.#dialog.onkeydown = (event) => {
      if (event.key === "PageUp") this.#go(-1);
      else if (event.key === "PageDown") this.#go(1);
      else if (event.target === this.#text && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        byId("editor-form").requestSubmit();
      } else return;
      event.preventDefault();
    };
  }

  /** @param {import("./items.js").Item} item with a job */
  open(item) {
    this.#item = item;
    const { id, output, edited, error } = item.job;
    byId("editor-picture").src = api(`jobs/${id}/image?size=1024`);
    byId("editor-name").textContent = item.name;
    byId("editor-link").href = pageUrl(`jobs/${id}`);
    showProblem("editor-error", error);
    byId("editor-form").hidden = !output;
    byId("editor-previous").disabled = !this.#neighbor(-1);
    byId("editor-next").disabled = !this.#neighbor(1);
    if (!this.#dialog.open) this.#dialog.showModal();
    if (!output) return;
    byId("editor-edited").hidden = !edited;
    byId("editor-said").textContent = output.caption;
    const translation = translationOf(item);
    byId("editor-translated").hidden = !translation;
    byId("editor-translated").lang = translation?.language ?? "";
    byId("editor-translated").textContent = translation?.caption ?? "";
    byId("editor-confidence").hidden = typeof output.confidence !== "number";
    byId("editor-confidence").textContent = t("Confidence: {percent} %", { percent: Math.round(100 * output.confidence) });
    byId("editor-others").hidden = !output.alternatives.length;
    byId("editor-choices").replaceChildren(...output.alternatives.map(({ caption }) => this.#createChoice(caption)));
    this.#write(captionOf(item));
  }

  #createChoice(caption) {
    return create("li", {}, create("button", { type: "button", className: "choice", onclick: () => this.#write(caption) }, caption));
  }

  #write(caption) {
    this.#text.value = caption;
    this.#text.focus();
  }

  async #save() {
    const text = this.#text.value.trim();
    const { id, output, edited } = this.#item.job;
    const caption = !text || text === output.caption ? null : text;
    if (caption !== (edited?.caption ?? null)) await this.save(new Map([[id, caption]]));
  }

  #neighbor(step) {
    const items = this.items().filter((item) => item.job);
    const index = items.indexOf(this.#item);
    return index < 0 ? items[0] : items[index + step];
  }

  #go(step) {
    const item = this.#neighbor(step);
    if (item) this.open(item);
  }
}
