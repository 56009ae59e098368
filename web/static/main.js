// The start page and the page of a batch: opens a batch for what is chosen, dropped or pasted.
import { api, pageUrl, request } from "./api.js";
import { byId, localizeTimes, showProblem } from "./dom.js";
import { watchModel } from "./model.js";
import { openBatches } from "./open.js";

const page = document.documentElement;
const inputs = document.querySelectorAll("input[type=file]");
/** @type {import("./workspace.js").Workspace | null} */
let workspace = null;

page.classList.add("scripted");
byId("images").required = false;
byId("drop")?.addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("[data-opens]")) button.onclick = () => byId(button.dataset.opens).click();
for (const input of inputs) input.onchange = addChosenFiles;

let dragDepth = 0;
function setDragDepth(depth) {
  dragDepth = Math.max(0, depth);
  page.classList.toggle("dragging", dragDepth > 0);
}
addEventListener("dragenter", (event) => event.dataTransfer?.types.includes("Files") && setDragDepth(dragDepth + 1));
addEventListener("dragleave", () => setDragDepth(dragDepth - 1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  setDragDepth(0);
  // The transfer is empty after the event.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  addFiles([...event.dataTransfer.files], entries);
});
addEventListener("paste", (event) => addFiles([...event.clipboardData.files]));
addEventListener("popstate", () => location.reload());

async function addChosenFiles() {
  for (const input of inputs) {
    const files = [...input.files];
    input.value = "";
    await addFiles(files);
  }
}

/** Adds pictures to the batch that is shown if it is open, else to a new one. A ZIP file becomes a batch of its own. */
async function addFiles(files, entries = []) {
  if (!files.length && !entries.length) return;
  try {
    const { add } = await import("./adding.js");
    await add(files, entries, () => workspace, show);
  } catch (problem) {
    showProblem("problem", problem);
  }
}

/** Shows a batch in the place of the start page, or of the batch before. */
async function show(batch, name) {
  history.pushState(null, "", pageUrl(`batches/${batch.id}`));
  byId("title").textContent = name;
  scrollTo(0, 0);
  await openWorkspace(batch, true);
}

async function openWorkspace(batch, isNew) {
  const { Workspace } = await import("./workspace.js");
  byId("start").hidden = true;
  workspace?.close();
  workspace = new Workspace(batch);
  await workspace.start(isNew);
}

async function start() {
  localizeTimes();
  watchModel();
  const { batch } = byId("workspace").dataset;
  if (batch) {
    try {
      await openWorkspace(await request(api(`batches/${batch}`)), false);
    } catch (problem) {
      showProblem("problem", problem);
    }
  }
  await addChosenFiles(); // files that were chosen before this script ran fire no event
  const rest = batch ? [] : openBatches().filter((id) => id !== workspace?.batch.id);
  if (!rest.length) return;
  const { sendRest } = await import("./rest.js");
  for (const id of rest) await sendRest(api(`batches/${id}`), id);
}

start();
