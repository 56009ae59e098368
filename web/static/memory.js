// Remembers this tab's jobs over a reload.
import { api } from "./api.js";

/** With the service's own URL: a proxy may serve another one on the same host. */
const KEY = `captiond-jobs ${api("jobs")}`;
/** More would make a page that nobody scrolls. */
const MOST = 200;

/** @param {(object | null)[]} jobs */
export function remember(jobs) {
  const ids = jobs.filter(Boolean).map((job) => job.id);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(ids.slice(-MOST)));
  } catch {
    // Storage may be switched off; then a reload forgets.
  }
}

/** @returns {string[]} */
export function remembered() {
  try {
    const ids = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}
