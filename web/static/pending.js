// Files that were not sent yet, in IndexedDB, so that they are sent when the page is opened again.
import { api } from "./api.js";

/** Contains the service's URL, because a proxy may serve a second instance on the same host. */
const NAME = `captiond ${api("")}`;

let database = null;

function open() {
  database ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    // The keys are [batch, name].
    opening.onupgradeneeded = () => opening.result.createObjectStore("files");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return database;
}

async function access(mode, action) {
  const transaction = (await open()).transaction("files", mode);
  const { result } = await new Promise((resolve, reject) => {
    const operation = action(transaction.objectStore("files"));
    transaction.oncomplete = () => resolve(operation);
    transaction.onabort = () => reject(transaction.error);
  });
  return result;
}

const ofBatch = (batch) => IDBKeyRange.bound([batch], [batch, []]);

/** Stores a file; rejects if the browser's storage is full or disabled. */
export const storeFile = (batch, name, file) => access("readwrite", (store) => store.put(file, [batch, name]));
export const deleteFile = (batch, name) => access("readwrite", (store) => store.delete([batch, name])).catch(() => {});
export const deleteFiles = (batch) => access("readwrite", (store) => store.delete(ofBatch(batch))).catch(() => {});
export const loadFile = (batch, name) => access("readonly", (store) => store.get([batch, name])).catch(() => {});

/** The names of the batch's files that were not sent yet. */
export async function pendingNames(batch) {
  const keys = await access("readonly", (store) => store.getAllKeys(ofBatch(batch))).catch(() => []);
  return keys.map(([, name]) => name);
}

/** Runs `action` in one tab at a time, where the browser has locks (not over plain HTTP from another machine). */
export const exclusively = (batch, action) =>
  navigator.locks ? navigator.locks.request(`${NAME} ${batch}`, action) : action();
