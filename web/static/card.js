// A card: one picture with its caption, or with what it waits for.
import { pageUrl } from "./api.js";
import { create } from "./dom.js";
import { captionOf, isFailed, isUnsure, statusOf, translationOf } from "./items.js";
import { t, tn } from "./translate.js";

/** Longer side of thumbnails in pixels, for screens with two pixels for each CSS pixel. */
const THUMBNAIL_SIZE = 480;

/**
 * Creates the card of an item, or updates it. `actions` has functions `open`, `copy`, `cancel` and `retry`, which get
 * the item and the button, and `drawFile`, which draws the thumbnail of a file.
 */
export function renderCard(item, card, actions) {
  card ??= create("li", { className: "card" }, createThumbnail(item, actions), create("div", { className: "body" }));
  const status = statusOf(item);
  const [thumbnail, body] = card.children;
  if (item.job?.input && !thumbnail.querySelector("img")) {
    thumbnail.href = pageUrl(`jobs/${item.job.id}`);
    thumbnail.ariaLabel = t("Open {name}", { name: item.name });
    const src = `${item.job.urls.image}?size=${THUMBNAIL_SIZE}`;
    thumbnail.replaceChildren(create("img", { src, alt: "", decoding: "async" }));
  }
  const bar = body.querySelector("progress");
  if (status === "sending" && bar) {
    bar.value = item.sent;
    return card;
  }
  const focused = body.contains(document.activeElement);
  card.dataset.status = status;
  body.replaceChildren(createState(item, status), createMeta(item), createActions(item, status, actions));
  const translation = translationOf(item);
  if (translation) body.firstChild.after(createTranslation(translation));
  if (focused) (body.querySelector("button") ?? thumbnail).focus({ preventScroll: true });
  return card;
}

function createThumbnail(item, actions) {
  const link = create("a", { className: "thumb" });
  link.onclick = (event) => {
    if (!item.job || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    actions.open(item);
  };
  if (item.file) actions.drawFile(item.file, link);
  return link;
}

function createState(item, status) {
  if (status === "succeeded") return create("p", { className: "caption", textContent: captionOf(item) });
  const problem = item.problem ?? item.job?.error;
  if (status === "failed" && problem) {
    const text = ` ${problem.detail}`;
    return create("p", { className: "error", title: text }, create("strong", {}, `${problem.title}.`), text);
  }
  const state = create("p", { className: "state" }, stateText(item, status));
  if (status === "processing") state.prepend(create("span", { className: "spinner" }));
  if (status === "sending") state.append(create("progress", { value: item.sent, "aria-label": t("Sent") }));
  return state;
}

function createTranslation({ language, caption }) {
  return create("p", { className: "translated", lang: language, title: caption, textContent: caption });
}

function stateText(item, status) {
  if (status === "canceled") return t("Canceled.");
  if (status === "waiting") return t("Waiting to be sent");
  if (status === "sending") return t("Sending …");
  if (status === "processing") return t("Captioning …");
  const position = item.job.progress?.position;
  return position ? tn("{count} picture before this one", "{count} pictures before this one", position) : t("Next in line");
}

function createMeta(item) {
  const meta = create("p", { className: "file" }, create("span", { textContent: item.name, title: item.name }));
  if (item.job?.edited) meta.append(create("b", { className: "badge", textContent: t("Edited") }));
  else if (isUnsure(item)) meta.append(create("b", { className: "badge unsure", textContent: t("Unsure") }));
  if (item.job?.model) meta.append(create("small", { className: "by", textContent: item.job.model.name }));
  return meta;
}

function createActions(item, status, actions) {
  const createButton = (label, action) => {
    const button = create("button", { type: "button", className: "quiet", "aria-label": `${label}: ${item.name}` }, label);
    button.onclick = () => action(item, button);
    return button;
  };
  const row = create("div", { className: "actions" });
  if (status === "succeeded") row.append(createButton(t("Edit"), actions.open), createButton(t("Copy"), actions.copy));
  else if (isFailed(item)) row.append(createButton(t("Try again"), actions.retry));
  else row.append(createButton(t("Cancel"), actions.cancel));
  return row;
}
