// Files that were chosen, dropped or pasted, with names that include their folders.
import { byId } from "./dom.js";
import { tn } from "./translate.js";

/** Characters of a name, fewer than the service allows for a batch. */
const MAX_NAME_LENGTH = 150;
const IGNORED = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$|desktop\.ini$)/i;

/** Chooses among files, or among those of the entries of a drop, which may be folders. */
export async function chooseFiles(files, entries) {
  if (!entries.length) return sort(files.map((file) => ({ name: file.webkitRelativePath || file.name, file })));
  const found = [];
  for (const entry of entries) await readEntry(entry, "", found);
  return sort(found);
}

async function readEntry(entry, folder, files) {
  const name = folder + entry.name;
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) files.push({ name, file });
    return;
  }
  const reader = entry.createReader();
  const readSome = () => new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
  // Chromium returns 100 entries at a time.
  for (let entries = await readSome(); entries.length; entries = await readSome()) {
    for (const child of entries) await readEntry(child, `${name}/`, files);
  }
}

/**
 * Ignores what a folder contains besides pictures. A file that was chosen by itself is kept, whatever its name.
 *
 * @returns the pictures in the order of their names, ZIP files, and a name for the batch
 */
function sort(files) {
  const suffixes = byId("images").accept.split(",");
  const archives = files.filter(({ name }) => /\.zip$/i.test(name)).map(({ file }) => file);
  const pictures = files.filter(({ name, file }) => {
    if (IGNORED.test(name) || archives.includes(file)) return false;
    return !name.includes("/") || suffixes.includes(name.match(/[.][^./]*$/)?.[0].toLowerCase()) || file.type.startsWith("image/");
  });
  pictures.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return { name: nameOf(pictures.map(({ name }) => name)), pictures, archives };
}

/** The name of the folder, or that of the first picture and the number of the others. */
function nameOf([first = "", ...others]) {
  const [folder, ...rest] = first.replace(/\p{C}/gu, "").slice(0, MAX_NAME_LENGTH).split("/");
  if (rest.length || !others.length) return folder;
  return tn("{name} and {count} more", "{name} and {count} more", others.length, { name: folder });
}
