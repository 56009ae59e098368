// Refreshes the page of the workers while it is visible.

/** Milliseconds between two requests. */
const INTERVAL = 5000;

async function refresh() {
  if (!document.hidden) {
    const response = await fetch(location.href).catch(() => null);
    if (response?.ok) {
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      document.getElementById("main").replaceWith(page.getElementById("main"));
    }
  }
  setTimeout(refresh, INTERVAL);
}

setTimeout(refresh, INTERVAL);
