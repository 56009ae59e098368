// Where the API is: beside the folder that this file is in, below whatever path a proxy serves both.

/**
 * @param {string} path below `/v1/`
 * @returns {string} its URL
 */
export function api(path) {
  return new URL(`../v1/${path}`, import.meta.url).href;
}
