// The start page: turns chosen, dropped and pasted files into cards, uploads them and polls their jobs.
import { announce } from "./announce.js";
import { api } from "./api.js";
import { Card } from "./card.js";
import { poll } from "./poll.js";
import { watchModel } from "./model.js";
import { saveCaptions } from "./save.js";
import { loadJobIds, saveJobIds } from "./memory.js";
import { upload } from "./upload.js";

/** Concurrent uploads: enough to use the bandwidth, few enough that the first captions arrive early. */
const MAX_UPLOADS = 3;

const page = document.documentElement;
const form = document.getElementById("drop");
const fileInput = document.getElementById("images");
const list = document.getElementById("cards");
const summary = document.getElementById("summary");
const saveButton = document.getElementById("save");

/** @type {Set<Card>} */
const cards = new Set();
/** @type {Card[]} */
const uploadQueue = [];
let uploads = 0;

page.classList.add("scripted");
fileInput.removeAttribute("required");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  addChosenFiles();
});
fileInput.addEventListener("change", addChosenFiles);

let dragDepth = 0;
addEventListener("dragenter", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  dragDepth += 1;
  page.classList.add("dragging");
});
addEventListener("dragleave", () => {
  dragDepth = Math.max(0, dragDepth - 1);
  if (!dragDepth) page.classList.remove("dragging");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragDepth = 0;
  page.classList.remove("dragging");
  addFiles(event.dataTransfer?.files ?? []);
});
addEventListener("paste", (event) => addFiles(event.clipboardData?.files ?? []));
saveButton.addEventListener("click", () => saveCaptions([...cards].map((card) => card.job).filter(Boolean)));

function addChosenFiles() {
  addFiles(fileInput.files);
  fileInput.value = "";
}

/** @param {Iterable<File>} fileList */
function addFiles(fileList) {
  const files = [...fileList];
  if (!files.length) return;
  for (const file of files) {
    uploadQueue.push(addCard({ file, name: file.name || "pasted picture" }));
  }
  announce(files.length === 1 ? `Sending ${files[0].name || "the pasted picture"}` : `Sending ${files.length} pictures`);
  startUploads();
}

/** @param {{file?: File, name: string, job?: object}} source */
function addCard(source) {
  const card = new Card(source, {
    retry: () => {
      uploadQueue.push(card);
      startUploads();
    },
    cancel: () => cancel(card),
    remove: () => {
      cards.delete(card);
      updatePage();
    },
    changed: updatePage,
  });
  cards.add(card);
  list.append(card.element);
  updatePage();
  return card;
}

function startUploads() {
  while (uploads < MAX_UPLOADS && uploadQueue.length) {
    const card = uploadQueue.shift();
    if (!cards.has(card) || card.canceled) continue;
    uploads += 1;
    uploadCard(card).finally(() => {
      uploads -= 1;
      startUploads();
    });
  }
}

/** @param {Card} card */
async function uploadCard(card) {
  card.showUpload(0);
  try {
    const onProgress = (fraction) => card.showUpload(fraction);
    card.showJob(await upload(card.file, { onProgress, signal: card.signal() }));
    storeJobs();
    pollCard(card);
  } catch (problem) {
    if (!card.canceled) showProblem(card, problem);
  }
}

/** @param {Card} card */
async function pollCard(card) {
  try {
    const job = await poll(card.job, { onChange: (updated) => card.showJob(updated), signal: card.signal() });
    if (job.status === "succeeded") announce(`${card.name}: ${job.output.caption}`);
    if (job.status === "failed") announce(`${card.name}: ${job.error.title}`);
  } catch (problem) {
    if (!card.canceled) showProblem(card, problem);
  }
}

function showProblem(card, problem) {
  card.showProblem(problem);
  announce(`${card.name}: ${problem.title}. ${problem.detail}`);
}

/** @param {Card} card */
async function cancel(card) {
  card.abort();
  if (!card.job) return;
  const response = await fetch(card.job.urls.cancel, { method: "POST" }).catch(() => null);
  if (response?.ok) card.showJob(await response.json());
}

function updatePage() {
  document.getElementById("current").hidden = cards.size === 0;
  const finished = [...cards].filter((card) => card.finished).length;
  summary.textContent = finished === cards.size ? `${cards.size} done` : `${finished} of ${cards.size} done`;
  saveButton.hidden = ![...cards].some((card) => card.job?.output);
  storeJobs();
}

function storeJobs() {
  saveJobIds([...cards].map((card) => card.job));
}

/** Restores the cards of this tab after a reload. */
async function restoreCards() {
  for (const id of loadJobIds()) {
    const response = await fetch(api(`jobs/${encodeURIComponent(id)}`)).catch(() => null);
    if (!response?.ok) continue;
    const job = await response.json();
    const card = addCard({ name: job.input?.filename ?? "picture", job });
    document.querySelector(`#recent-cards [data-job="${CSS.escape(id)}"]`)?.remove();
    card.showJob(job);
    if (!card.finished) pollCard(card);
  }
}

restoreCards();
addChosenFiles(); // files that were chosen before this script ran fire no event
watchModel();
