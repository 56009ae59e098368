// URLs of the API, relative to this file, so that they include the path prefix of a proxy.

/**
 * @param {string} path relative to `/v1/`
 * @returns {string} the absolute URL
 */
export function api(path) {
  return new URL(`../v1/${path}`, import.meta.url).href;
}
