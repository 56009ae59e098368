// Problems (RFC 9457) as the page shows them: a title and a sentence.

/** @typedef {{title: string, detail: string}} Problem */

/** @type {Problem} */
export const UNREACHABLE = {
  title: "The service cannot be reached",
  detail: "Check the connection, then try again. Pictures that were accepted are safe.",
};

/**
 * @param {string} text the body of an answer
 * @param {number} status
 * @returns {Problem}
 */
export function asProblem(text, status) {
  try {
    const { title, detail } = JSON.parse(text);
    if (title && detail) return { title, detail };
  } catch {
    // Not from the service: a proxy's page.
  }
  return { title: "That did not work", detail: `The server answered ${status}. Try again in a moment.` };
}
