// Announces messages to screen readers through the page's polite live region.

/** Milliseconds in which messages are joined, because a region that changes twice at once is often read only once. */
const DELAY = 150;

const region = document.getElementById("announcer");
/** @type {string[]} */
const queue = [];
let timer = 0;

/** @param {string} message */
export function announce(message) {
  queue.push(message);
  clearTimeout(timer);
  timer = setTimeout(() => {
    region.textContent = queue.splice(0).join(". ");
  }, DELAY);
}
