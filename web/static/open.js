// The ids of the open batches of this browser, in localStorage.
import { api } from "./api.js";

/** Contains the service's URL, because a proxy may serve a second instance on the same host. */
const KEY = `captiond ${api("")}`;

export function openBatches() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

export function rememberBatch(batch, isOpen) {
  const others = openBatches().filter((id) => id !== batch);
  try {
    localStorage.setItem(KEY, JSON.stringify(isOpen ? [...others, batch] : others));
  } catch {
    // Storage may be disabled; then only this tab sends the batch.
  }
}
