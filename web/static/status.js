// The sentence for a job that has no caption and no error. web/status.py has the same for the pages without JavaScript.
import { t, tn } from "./translate.js";

/** Seconds below which no estimate is shown, and from which it is shown in minutes. */
const MIN_ETA = 5;
const MINUTES_FROM = 90;

/**
 * @param {object} job
 * @returns {string} its state, or its place in the queue with the estimated time
 */
export function statusText(job) {
  if (job.status === "canceled") return t("Canceled.");
  if (job.status === "processing") return t("Captioning …");
  const position = job.progress?.position ?? 0;
  const eta = job.progress?.eta_seconds ?? 0;
  if (!position) return t("Next in line …");
  if (eta <= MIN_ETA) return tn("{count} picture before yours …", "{count} pictures before yours …", position);
  const time =
    eta < MINUTES_FROM
      ? t("about {seconds} s", { seconds: Math.round(eta) })
      : t("about {minutes} min", { minutes: Math.round(eta / 60) });
  return tn("{count} picture before yours, {time} …", "{count} pictures before yours, {time} …", position, { time });
}
