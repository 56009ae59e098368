// The sentence for a job that has no caption and no error. web/status.py has the same for the pages without JavaScript.
import { t, tn } from "./translate.js";

/**
 * @param {{status: string, progress?: {position: number}}} job
 * @returns {string} its state, or its place in the queue
 */
export function statusText(job) {
  if (job.status === "canceled") return t("Canceled.");
  if (job.status === "processing") return t("Captioning …");
  const position = job.progress?.position;
  return position ? tn("{count} picture before this one", "{count} pictures before this one", position) : t("Next in line");
}
