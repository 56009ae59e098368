// Shows the current model and its notice. Polls often until a worker is ready, then rarely.
import { api } from "./api.js";
import { t } from "./translate.js";

/** Milliseconds between two polls while no worker is ready, and once one is. */
const LOADING_INTERVAL = 2000;
const READY_INTERVAL = 60000;

export async function watchModel() {
  const response = await fetch(api("models")).catch(() => null);
  const models = response?.ok ? await response.json() : null;
  if (models) {
    const notice = document.getElementById("notice");
    notice.textContent = models.notice ?? "";
    notice.hidden = !models.notice;
    document.getElementById("loading").hidden = models.captioning !== null;
    document.getElementById("model").textContent = models.captioning?.name ?? t("model loading");
  }
  setTimeout(watchModel, models?.captioning ? READY_INTERVAL : LOADING_INTERVAL);
}
