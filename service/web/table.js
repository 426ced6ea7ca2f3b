// The table of the second tab: its filters, its pages, its download.

import { toCsv } from "./files.js";
import { answer, byId, make, percent } from "./page.js";
import { t } from "./strings.js";

const PAGE_ROWS = 100;
let jobs = []; // those that are done: {text, prediction, error}
let page = 0;

export function startTable() {
  for (const id of ["filter-label", "filter-least", "filter-most"]) {
    byId(id).addEventListener("input", () => { page = 0; showRows(); });
  }
  byId("previous").addEventListener("click", () => { page -= 1; showRows(); });
  byId("next").addEventListener("click", () => { page += 1; showRows(); });
  byId("download").addEventListener("click", download);
}

export function firstPage() {
  page = 0;
}

export function showTable(doneJobs) {
  jobs = doneJobs;
  showFilter();
  showRows();
}

function nameOf({ prediction, error }) {
  if (error || !prediction) return "";
  return prediction.abstained ? t("unsure_label") : answer(prediction).name || t("none");
}

// What a row is found under: each of its labels; numbers are found under nothing.
function namesOf(job) {
  if (!job.prediction || job.prediction.value !== undefined) return [];
  return !job.prediction.abstained && job.prediction.labels?.length ? job.prediction.labels : [nameOf(job)];
}

function showFilter() {
  const names = [...new Set(jobs.flatMap(namesOf))].sort();
  const select = byId("filter-label"), chosen = select.value;
  byId("filters").hidden = !names.length;
  const options = [new Option(t("any"), ""), ...names.map((name) => new Option(name, name))];
  if (options.map(({ text }) => text).join("\n") === [...select.options].map(({ text }) => text).join("\n")) return; // it may be open
  select.replaceChildren(...options);
  select.value = names.includes(chosen) ? chosen : "";
}

function filtered() {
  const label = byId("filter-label").value;
  const least = Number(byId("filter-least").value), most = Number(byId("filter-most").value);
  return jobs.map((job, index) => ({ ...job, number: index + 1 })).filter((job) => {
    const score = job.prediction?.score ?? 1;
    return (!label || namesOf(job).includes(label)) && score >= least && score <= most;
  });
}

function showRows() {
  const found = filtered();
  const last = Math.max(0, Math.ceil(found.length / PAGE_ROWS) - 1);
  page = Math.min(Math.max(page, 0), last);
  const from = page * PAGE_ROWS;
  const rows = found.slice(from, from + PAGE_ROWS);
  byId("rows").replaceChildren(...rows.map(rowOf));
  byId("page").textContent = t("page", { from: rows.length ? from + 1 : 0, to: from + rows.length, total: found.length });
  byId("previous").disabled = page === 0;
  byId("next").disabled = page === last;
}

function rowOf(job) {
  const score = job.prediction?.score;
  return make(
    "tr",
    {},
    make("td", {}, String(job.number)),
    make("td", { className: job.error ? "wrong" : "" }, job.error || nameOf(job)),
    make("td", {}, score === undefined ? "" : percent(score)),
    make("td", {}, job.text),
  );
}

function download() {
  const rows = filtered().map((job) => {
    const { name, score } = job.prediction ? answer(job.prediction) : { name: "", score: "" };
    return [job.text, name, score, job.prediction?.abstained, job.error];
  });
  const csv = toCsv(["text", "label", "score", "abstained", "error"], rows);
  const address = URL.createObjectURL(new Blob(["\uFEFF", csv], { type: "text/csv" })); // with the mark that Excel wants
  make("a", { href: address, download: "predictions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
