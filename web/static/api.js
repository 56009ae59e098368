// Requests to the API. Its URLs are relative to this file, so that they include the path prefix of a proxy.
import { byId } from "./dom.js";
import { asProblem, unreachable } from "./problem.js";

/** The absolute URL of a path of the service. */
export const pageUrl = (path) => new URL(`../${path}`, import.meta.url).href;
export const api = (path) => pageUrl(`v1/${path}`);

/** Sends a request, with `body` as JSON; returns the JSON of the answer, or rejects with a problem. */
export async function request(url, method = "GET", body) {
  const headers = { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
  const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store" };
  const response = await fetch(url, options).catch(() => null);
  showConnection(response !== null);
  if (!response) throw unreachable();
  if (!response.ok) throw asProblem(await response.text(), response.status);
  return response.status === 204 ? null : response.json();
}

/** Shows or hides the banner about the connection. */
export function showConnection(connected) {
  const banner = byId("offline");
  if (banner) banner.hidden = connected && navigator.onLine;
}

addEventListener("offline", () => showConnection(false));
addEventListener("online", () => showConnection(true));
