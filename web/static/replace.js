// The dialog that replaces words in many captions, with a preview of what will change.
import { byId, create, showProblem } from "./dom.js";
import { captionOf } from "./items.js";
import { tn } from "./translate.js";

/** Changes that the preview shows. */
const MAX_SHOWN = 50;

const dialog = byId("replace");
const find = byId("replace-find");
const replacement = byId("replace-with");
const matchCase = byId("replace-case");
const wholeWords = byId("replace-words");

/** Shows the dialog for the captions of `items`, and gives the new ones to `save`. */
export function openReplace(items, save) {
  let changes = [];
  const preview = () => {
    const pattern = createPattern();
    changes = pattern ? items.map((item) => createChange(item, pattern)).filter(Boolean) : [];
    byId("replace-count").textContent = tn("{count} caption will change.", "{count} captions will change.", changes.length);
    byId("replace-preview").replaceChildren(...changes.slice(0, MAX_SHOWN).map(({ parts }) => create("li", {}, ...parts)));
    byId("replace-apply").disabled = !changes.length;
  };
  byId("replace-form").oninput = preview;
  byId("replace-close").onclick = () => dialog.close();
  byId("replace-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await save(new Map(changes.map(({ id, caption }) => [id, caption])));
      dialog.close();
    } catch (problem) {
      showProblem("replace-error", problem);
    }
  };
  showProblem("replace-error", null);
  preview();
  dialog.showModal();
  find.select();
}

/** The pattern of what is to be replaced, or null. Letters of all scripts belong to words. */
function createPattern() {
  const text = find.value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const pattern = wholeWords.checked ? `(?<![\\p{L}\\p{N}])${text}(?![\\p{L}\\p{N}])` : text;
  return text && new RegExp(pattern, matchCase.checked ? "gu" : "giu");
}

/** The item's new caption and the nodes that show the change; null if nothing changes. */
function createChange(item, pattern) {
  const { id, output } = item.job;
  const before = captionOf(item);
  const after = before.replace(pattern, () => replacement.value).replace(/ {2,}/g, " ").trim();
  if (after === before || !after) return null;
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of before.matchAll(pattern)) {
    parts.push(before.slice(end, index), create("del", {}, found), create("ins", {}, replacement.value));
    end = index + found.length;
  }
  // What the model said is no edit.
  return { id, caption: after === output.caption ? null : after, parts: [...parts, before.slice(end)] };
}
