// Sends the rest of batches that were closed before all was sent, and seals those that are complete.
import { pageUrl, request } from "./api.js";
import { byId, create } from "./dom.js";
import { isUnsent, Items } from "./items.js";
import { rememberBatch } from "./open.js";
import { pendingNames } from "./pending.js";
import { t } from "./translate.js";
import { Uploader } from "./uploader.js";

/** @param {string} url of the batch */
export async function sendRest(url, id) {
  let batch = null;
  try {
    batch = await request(url);
  } catch (problem) {
    if (!problem.status) return; // a later page tries again
  }
  if (batch?.status === "open") {
    const left = await pendingNames(id);
    if (left.length) await send(batch, batch.request_counts.total + left.length);
    await request(batch.urls.seal, "POST").catch(() => {});
  }
  rememberBatch(id, false);
}

async function send(batch, all) {
  const text = create("span");
  const link = create("a", { href: pageUrl(`batches/${batch.id}`) }, batch.name ?? t("Pictures"));
  const line = create("p", { className: "banner calm" }, link, " ", text);
  byId("notice").before(line);
  const items = new Items();
  items.addEventListener("change", () => {
    text.textContent = t("{sent} of {all} sent", { sent: all - items.list.filter(isUnsent).length, all });
  });
  await new Uploader(batch, items).run();
  line.remove();
}
