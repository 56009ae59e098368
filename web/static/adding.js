// Adds what was chosen, dropped or pasted to a batch.
import { announce } from "./announce.js";
import { api, request } from "./api.js";
import { byId, showProblem } from "./dom.js";
import { chooseFiles } from "./files.js";
import { rememberBatch } from "./open.js";
import { t } from "./translate.js";
import { upload } from "./upload.js";

/**
 * @param {File[]} files
 * @param {FileSystemEntry[]} entries those of a drop, which may be folders
 * @param {() => import("./workspace.js").Workspace | null} workspace the one that is shown
 * @param {(batch: object, name: string) => Promise<void>} show shows another batch
 */
export async function add(files, entries, workspace, show) {
  const { name, pictures, archives } = await chooseFiles(files, entries);
  if (pictures.length) {
    showProblem("problem", null);
    if (!workspace()?.isOpen) {
      const batch = await request(api("batches"), "POST", { name, options: optionsFor(workspace()) });
      rememberBatch(batch.id, true);
      await show(batch, name);
    }
    workspace().add(pictures);
  }
  for (const archive of archives) await show(await sendArchive(archive, optionsFor(workspace())), archive.name);
}

/** Options of a new batch: those of the batch shown, or the model chosen on the start page. */
function optionsFor(shown) {
  return shown ? shown.batch.options : JSON.parse(byId("choice")?.value ?? null);
}

async function sendArchive(archive, options) {
  const { name } = archive;
  const text = t("Sending {name}", { name });
  announce(text);
  byId("archive-text").textContent = text;
  byId("archive").hidden = false;
  try {
    const form = new FormData();
    form.append("archive", archive, name);
    form.append("options", JSON.stringify(options));
    return await upload(api("batches"), form, (fraction) => (byId("archive-bar").value = fraction));
  } finally {
    byId("archive").hidden = true;
  }
}
