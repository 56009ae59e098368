// Finds, creates and changes elements.

export const byId = (id) => document.getElementById(id);

/** Creates an element; names with a hyphen are attributes, the others properties. */
export function create(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

/** Shows a problem in the element with this id, or hides the element. */
export function showProblem(id, problem) {
  byId(id).textContent = problem ? `${problem.title}. ${problem.detail}` : "";
  byId(id).hidden = !problem;
}

/** Shows the page's times in the reader's time zone and language. */
export function localizeTimes() {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("time")) time.textContent = format.format(new Date(time.dateTime));
}
