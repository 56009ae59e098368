// Uploads one picture. Uses XMLHttpRequest, because fetch does not report upload progress.
import { api } from "./api.js";
import { asProblem, UNREACHABLE } from "./problem.js";

/**
 * @param {File} file
 * @param {{onProgress: (fraction: number) => void, signal: AbortSignal}} options
 * @returns {Promise<object>} the job; rejects with a problem
 */
export function upload(file, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("image", file, file.name || "pasted.png");
    request.open("POST", api("jobs"));
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 201 || request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(asProblem(request.responseText, request.status));
    });
    request.addEventListener("error", () => reject(UNREACHABLE));
    request.addEventListener("abort", () => reject(UNREACHABLE));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
