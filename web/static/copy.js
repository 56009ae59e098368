// Copies text to the clipboard, also where the Clipboard API is unavailable (plain HTTP, or permission denied).
import { create } from "./dom.js";
import { t } from "./translate.js";

/** Copies `text`, and says so on `button` for two seconds. */
export async function copy(text, button) {
  const label = button.textContent;
  button.textContent = (await toClipboard(text)) ? t("Copied") : t("Press Ctrl+C");
  setTimeout(() => (button.textContent = label), 2000);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const area = create("textarea", { value: text, className: "visually-hidden" });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}
