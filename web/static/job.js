// The page of one picture.
import { api, request } from "./api.js";
import { copy } from "./copy.js";
import { byId, localizeTimes } from "./dom.js";
import { Editor } from "./editor.js";
import { Edits } from "./edits.js";
import { Items } from "./items.js";

const url = api(`jobs/${byId("job").dataset.job}`);

document.documentElement.classList.add("scripted");
localizeTimes();
for (const button of document.querySelectorAll("[data-copy]")) {
  button.onclick = () => copy(button.dataset.copy || location.href, button);
}

async function start() {
  const job = await request(url);
  if (job.completed_at === null) {
    await ended();
    location.reload();
  }
  if (!job.output) return;
  const items = new Items();
  const edits = new Edits(items);
  items.putJob(job);
  const save = (captions) => edits.save(captions).then(() => location.reload());
  const editor = new Editor(() => items.list, save, () => byId("edit").focus());
  byId("edit").onclick = () => editor.open(items.list[0]);
}

/** Waits until the job has ended. */
async function ended() {
  for (;;) {
    const response = await fetch(url, { headers: { Prefer: "wait=20" }, cache: "no-store" });
    if (!response.ok || (await response.json()).completed_at) return;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

start();
