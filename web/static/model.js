// Says which model captions, and what to know of it: asked for until a worker is ready, then now and then.
import { api } from "./api.js";

/** Milliseconds between two questions while no worker is ready, and afterwards. */
const LOADING = 2000;
const READY = 60000;

export async function watchModel() {
  const answer = await fetch(api("models")).catch(() => null);
  const state = answer?.ok ? await answer.json() : null;
  if (state) {
    const notice = document.getElementById("notice");
    notice.textContent = state.notice ?? "";
    notice.hidden = !state.notice;
    document.getElementById("loading").hidden = state.captioning !== null;
    document.getElementById("model").textContent = state.captioning?.name ?? "model loading";
  }
  setTimeout(watchModel, state?.captioning ? READY : LOADING);
}
