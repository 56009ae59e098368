// Says things once to a screen reader, through the page's polite live region.

const region = document.getElementById("announcer");
/** @type {string[]} */
const queue = [];
let timer = 0;

/**
 * Messages that come together are read together: a region changed twice at once is often read once.
 * @param {string} message
 */
export function announce(message) {
  queue.push(message);
  clearTimeout(timer);
  timer = setTimeout(() => {
    region.textContent = queue.splice(0).join(". ");
  }, 150);
}
