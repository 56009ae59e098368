// Stores the ids of this tab's jobs, so that a reload keeps them.
import { api } from "./api.js";

/** The key contains the service's URL, because a proxy may serve a second instance on the same host. */
const KEY = `captiond-jobs ${api("jobs")}`;
/** Only the latest ids are stored, to keep the page short. */
const MAX_IDS = 200;

/** @param {(object | null)[]} jobs */
export function saveJobIds(jobs) {
  const ids = jobs.filter(Boolean).map((job) => job.id);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(ids.slice(-MAX_IDS)));
  } catch {
    // Storage may be disabled; a reload then loses the cards.
  }
}

/** @returns {string[]} */
export function loadJobIds() {
  try {
    const ids = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}
