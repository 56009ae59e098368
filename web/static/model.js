// Shows the models and the notice about them. Polls often until a worker is ready, then rarely.
import { api } from "./api.js";
import { t } from "./translate.js";

/** Milliseconds between two polls while no worker is ready, and once one is. */
const LOADING_INTERVAL = 2000;
const READY_INTERVAL = 60000;

export async function watchModel() {
  const response = await fetch(api("models")).catch(() => null);
  const known = response?.ok ? await response.json() : null;
  if (known) {
    const running = known.models.filter(({ workers }) => workers).map(({ name }) => name);
    const notice = document.getElementById("notice");
    notice.textContent = known.notice ?? "";
    notice.hidden = !known.notice;
    document.getElementById("loading").hidden = known.captioning !== null;
    document.getElementById("model").textContent = running.join(" · ") || t("model loading");
    document.documentElement.classList.toggle("models", known.models.length > 1);
  }
  setTimeout(watchModel, known?.captioning ? READY_INTERVAL : LOADING_INTERVAL);
}
