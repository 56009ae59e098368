// Problems (RFC 9457), reduced to what the page shows: a title and a sentence.
import { t } from "./translate.js";

/** @typedef {{title: string, detail: string}} Problem */

/** @type {Problem} */
export const UNREACHABLE = {
  title: t("The service cannot be reached"),
  detail: t("Check the connection, then try again. Pictures that were accepted are safe."),
};

/**
 * @param {string} text body of the response
 * @param {number} status
 * @returns {Problem}
 */
export function asProblem(text, status) {
  try {
    const { title, detail } = JSON.parse(text);
    if (title && detail) return { title, detail };
  } catch {
    // Not JSON: an error page of a proxy.
  }
  return {
    title: t("The request failed"),
    detail: t("The server answered with status {status}. Try again in a moment.", { status }),
  };
}
