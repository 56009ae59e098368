// Shows how much of a batch was sent and captioned, and the time that is left.
import { byId } from "./dom.js";
import { t, tn } from "./translate.js";

/** Seconds over which the rate is measured, at least, and the weight of the newest measurement in its average. */
const INTERVAL = 1.5;
const WEIGHT = 0.3;

export class Progress {
  #measured = null;
  /** Pictures per second. */
  #rate = 0;

  /** @param counts those of `Items` @param {string[]} notes further things to say while the batch is not done */
  show(counts, notes) {
    const { all, unsent, open } = counts;
    const done = all - unsent - open;
    this.#measure(done);
    byId("progress").hidden = done === all && !notes.length;
    byId("bar").value = done / (all || 1);
    const parts = [t("{done} of {all} done", { done, all }), ...notes];
    if (unsent) parts.unshift(t("{sent} of {all} sent", { sent: all - unsent, all }));
    if (this.#rate) parts.push(timeLeft((all - done) / this.#rate));
    byId("progress-text").textContent = parts.join(" · ");
    const facts = [tn("{count} picture", "{count} pictures", all)];
    if (counts.failed) facts.push(t("{count} failed", { count: counts.failed }));
    if (counts.canceled) facts.push(t("{count} canceled", { count: counts.canceled }));
    byId("facts").textContent = facts.join(" · ");
    const title = byId("title").textContent;
    document.title = done < all ? `${Math.floor((100 * done) / all)} % · ${title}` : title;
  }

  #measure(done) {
    const time = performance.now() / 1000;
    this.#measured ??= { time, done };
    const seconds = time - this.#measured.time;
    if (seconds < INTERVAL || done <= this.#measured.done) return;
    const rate = (done - this.#measured.done) / seconds;
    this.#rate = this.#rate ? WEIGHT * rate + (1 - WEIGHT) * this.#rate : rate;
    this.#measured = { time, done };
  }
}

function timeLeft(seconds) {
  if (seconds < 60) return t("less than a minute left");
  if (seconds < 5400) return tn("about {count} minute left", "about {count} minutes left", Math.round(seconds / 60));
  return tn("about {count} hour left", "about {count} hours left", Math.round(seconds / 3600));
}
