// Saves the captions on the page as a CSV file, which is generated in the browser.

/** @param {object[]} jobs */
export function saveCaptions(jobs) {
  const rows = jobs.filter((job) => job.output).map((job) => [job.input.filename, job.output.caption]);
  const text = [["file", "caption"], ...rows].map((row) => row.map(quote).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text + "\r\n"], { type: "text/csv" }));
  link.download = "captions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Quotes a CSV field. A leading apostrophe prevents spreadsheets from evaluating it as a formula. */
function quote(value) {
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}
