// The page: what is chosen, dropped or pasted becomes cards; cards are uploaded and followed to their captions.
import { announce } from "./announce.js";
import { api } from "./api.js";
import { Card } from "./card.js";
import { follow } from "./follow.js";
import { watchModel } from "./model.js";
import { saveCaptions } from "./save.js";
import { remember, remembered } from "./memory.js";
import { upload } from "./upload.js";

/** Uploads at once: enough to keep a line busy, few enough that the first captions come early. */
const UPLOADS = 3;

const page = document.documentElement;
const form = document.getElementById("drop");
const chooser = document.getElementById("images");
const list = document.getElementById("cards");
const summary = document.getElementById("summary");
const save = document.getElementById("save");

/** @type {Set<Card>} */
const cards = new Set();
/** @type {Card[]} */
const waiting = [];
let uploading = 0;

page.classList.add("scripted");
chooser.removeAttribute("required");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  addChosen();
});
chooser.addEventListener("change", addChosen);

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
  add(event.dataTransfer?.files ?? []);
});
addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
save.addEventListener("click", () => saveCaptions([...cards].map((card) => card.job).filter(Boolean)));

function addChosen() {
  add(chooser.files);
  chooser.value = "";
}

/** @param {Iterable<File>} files */
function add(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  for (const file of chosen) {
    const card = newCard({ file, name: file.name || "pasted picture" });
    waiting.push(card);
  }
  announce(chosen.length === 1 ? `Sending ${chosen[0].name || "the pasted picture"}` : `Sending ${chosen.length} pictures`);
  pump();
}

/** @param {{file?: File, name: string, job?: object}} subject */
function newCard(subject) {
  const card = new Card(subject, {
    retry: () => {
      waiting.push(card);
      pump();
    },
    cancel: () => stop(card),
    remove: () => {
      cards.delete(card);
      refresh();
    },
    changed: refresh,
  });
  cards.add(card);
  list.append(card.element);
  refresh();
  return card;
}

function pump() {
  while (uploading < UPLOADS && waiting.length) {
    const card = waiting.shift();
    if (!cards.has(card) || card.canceled) continue;
    uploading += 1;
    send(card).finally(() => {
      uploading -= 1;
      pump();
    });
  }
}

/** @param {Card} card */
async function send(card) {
  card.uploading(0);
  try {
    const job = await upload(card.file, { onProgress: (part) => card.uploading(part), signal: card.signal() });
    card.show(job);
    remember([...cards].map((each) => each.job));
    watch(card);
  } catch (problem) {
    if (!card.canceled) fail(card, problem);
  }
}

/** @param {Card} card */
async function watch(card) {
  try {
    const job = await follow(card.job, { onChange: (seen) => card.show(seen), signal: card.signal() });
    if (job.status === "succeeded") announce(`${card.name}: ${job.output.caption}`);
    if (job.status === "failed") announce(`${card.name}: ${job.error.title}`);
  } catch (problem) {
    if (!card.canceled) fail(card, problem);
  }
}

function fail(card, problem) {
  card.fail(problem);
  announce(`${card.name}: ${problem.title}. ${problem.detail}`);
}

/** @param {Card} card */
async function stop(card) {
  card.abort();
  if (!card.job) return;
  const answer = await fetch(card.job.urls.cancel, { method: "POST" }).catch(() => null);
  if (answer?.ok) card.show(await answer.json());
}

function refresh() {
  document.getElementById("current").hidden = cards.size === 0;
  const done = [...cards].filter((card) => card.settled).length;
  summary.textContent = done === cards.size ? `${cards.size} done` : `${done} of ${cards.size} done`;
  save.hidden = ![...cards].some((card) => card.job?.output);
  remember([...cards].map((card) => card.job));
}

/** Takes up again the jobs that were under way when the page was left. */
async function resume() {
  for (const id of remembered()) {
    const answer = await fetch(api(`jobs/${encodeURIComponent(id)}`)).catch(() => null);
    if (!answer?.ok) continue;
    const job = await answer.json();
    const card = newCard({ name: job.input?.filename ?? "picture", job });
    document.querySelector(`#recent-cards [data-job="${CSS.escape(id)}"]`)?.remove();
    card.show(job);
    if (!card.settled) watch(card);
  }
}

resume();
addChosen(); // files chosen before this script had come fire no event any more
watchModel();
