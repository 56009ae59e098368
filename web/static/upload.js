// Sends one form. Uses XMLHttpRequest, because fetch does not report the progress of an upload.
import { asProblem, unreachable } from "./problem.js";

/** Resolves with the JSON of the answer, or rejects with a problem; `onProgress` gets the fraction that was sent. */
export function upload(url, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(asProblem(request.responseText, request.status));
    };
    request.onerror = request.onabort = () => reject(unreachable());
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
