// Which pictures the grid shows: those of one of the filters that match all words of the search.
import { byId } from "./dom.js";
import { captionOf, isUnsure, statusOf } from "./items.js";

const FILTERS = {
  all: () => true,
  unsure: isUnsure,
  edited: (item) => item.job?.edited,
  failed: (item) => statusOf(item) === "failed",
};

export class Filters {
  #buttons = document.querySelectorAll("[data-filter]");
  #search = byId("search");
  #name = "all";

  constructor(onChange) {
    for (const button of this.#buttons) {
      button.onclick = () => {
        this.#name = button.dataset.filter;
        onChange();
      };
    }
    this.#search.oninput = onChange;
    byId("clear").onclick = () => {
      this.#name = "all";
      this.#search.value = "";
      this.#search.focus();
      onChange();
    };
  }

  apply(items) {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (item) => {
      const text = `${captionOf(item)} ${item.name}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return items.filter((item) => FILTERS[this.#name](item) && (!words.length || matches(item)));
  }

  /** Shows the numbers of pictures on the filters' buttons, and hides those of empty filters. */
  show(counts) {
    for (const button of this.#buttons) {
      const name = button.dataset.filter;
      button.querySelector("b").textContent = counts[name].toLocaleString();
      button.hidden = name !== "all" && name !== this.#name && !counts[name];
      button.setAttribute("aria-pressed", name === this.#name);
    }
  }
}
