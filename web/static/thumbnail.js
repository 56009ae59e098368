// Thumbnails of files that were not sent yet. Two are decoded at a time, because a photograph needs 50 MB while it is.
import { create } from "./dom.js";

/** Width in pixels. */
const WIDTH = 320;
const MAX_DECODING = 2;

const queue = [];
let decoding = 0;

/** Puts the thumbnail of `file` into `parent`, unless that is gone or has a picture by then. */
export function drawFile(file, parent) {
  queue.push([file, parent]);
  setTimeout(decodeNext); // after the parent was put into the document
}

async function decodeNext() {
  if (decoding >= MAX_DECODING || !queue.length) return;
  const [file, parent] = queue.shift();
  const wanted = () => parent.isConnected && !parent.firstChild;
  if (wanted()) {
    decoding += 1;
    // Fails for formats that the browser cannot show, such as HEIC.
    const bitmap = await createImageBitmap(file, { resizeWidth: WIDTH, resizeQuality: "low" }).catch(() => null);
    decoding -= 1;
    if (bitmap && wanted()) {
      const canvas = create("canvas", { width: bitmap.width, height: bitmap.height });
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      parent.append(canvas);
    }
    bitmap?.close();
  }
  decodeNext();
}
