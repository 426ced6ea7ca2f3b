// The second tab: many texts, in requests of a few hundred, into a table.

import { predict } from "./api.js";
import { FileError, parseFile, parseLines, toCsv } from "./files.js";
import { answer, byId, make, notify, percent } from "./page.js";
import { sentence, t } from "./strings.js";

const PAGE_ROWS = 100;
const REQUEST_TEXTS = 256; // or fewer, if the service allows fewer
let requestTexts = REQUEST_TEXTS;
let table = null; // {columns, rows} of a file
let jobs = []; // {text, prediction, error}
let done = 0;
let controller = null; // while a run is under way
let page = 0;

export function start(onUnauthorized) {
  byId("many-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (done === 0 || done === jobs.length) prepare();
    run(onUnauthorized);
  });
  byId("stop").addEventListener("click", () => controller?.abort());
  byId("file").addEventListener("change", () => byId("file").files[0] && read(byId("file").files[0]));
  byId("lines").addEventListener("input", forget);
  byId("column").addEventListener("change", restart);
  const drop = byId("drop");
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
  });
  for (const id of ["filter-label", "filter-least", "filter-most"]) {
    byId(id).addEventListener("input", () => { page = 0; showRows(); });
  }
  byId("previous").addEventListener("click", () => { page -= 1; showRows(); });
  byId("next").addEventListener("click", () => { page += 1; showRows(); });
  byId("download").addEventListener("click", download);
}

export function limit(maxTexts) {
  requestTexts = Math.min(REQUEST_TEXTS, maxTexts);
}

export function show() {
  if (jobs.length) { showFilter(); showRows(); showProgress(); }
}

function forget() {
  table = null;
  byId("file").value = "";
  byId("column-box").hidden = true;
  restart();
}

function restart() {
  controller?.abort();
  done = 0;
  jobs = [];
  showProgress();
}

async function read(file) {
  try {
    table = parseFile(file.name, await file.text());
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    notify(t("bad_line", { name: file.name, line: error.line }));
    return;
  }
  restart();
  byId("lines").value = "";
  const { columns, rows } = table;
  notify(rows.length ? "" : t("no_rows", { name: file.name }));
  byId("column").replaceChildren(...columns.map((column) => new Option(column, column)));
  byId("column").value = columns.includes("text") ? "text" : columns[0];
  byId("column-box").hidden = columns.length < 2;
  byId("count").textContent = t("rows_read", { count: rows.length, name: file.name });
}

function prepare() {
  const { rows } = table ?? parseLines(byId("lines").value);
  const column = table ? byId("column").value : "text";
  jobs = rows.map((row) => ({ text: String(row[column] ?? ""), prediction: null, error: "" }));
  done = page = 0;
}

async function run(onUnauthorized) {
  if (!jobs.length) return notify(t("nothing"));
  controller = new AbortController();
  const { signal } = controller;
  working(true);
  notify("");
  try {
    while (done < jobs.length && !signal.aborted) {
      await next(signal);
      showProgress();
      showRows();
    }
  } catch (error) {
    if (error.name !== "AbortError") notify(sentence(error));
    if (error.type === "unauthorized") onUnauthorized();
  } finally {
    working(false);
    show();
  }
}

// Classify the next texts; a text that the service refuses keeps its error, a busy service is waited for.
async function next(signal) {
  const open = jobs.slice(done, done + requestTexts).filter((job) => !job.error);
  try {
    if (open.length) {
      const { reply } = await predict({ inputs: open.map(({ text }) => text), top_k: 1 }, signal);
      open.forEach((job, index) => { job.prediction = reply.predictions[index]; });
    }
    done = Math.min(done + requestTexts, jobs.length);
  } catch (error) {
    const refused = error.type === "validation" && /^inputs\[(\d+)\]/.exec(error.message);
    if (refused) open[Number(refused[1])].error = error.message.replace(/^inputs\[\d+\]: /, "");
    else if (error.type === "overloaded") await pause(error.retryAfterS || 1, signal);
    else throw error;
  }
}

function pause(seconds, signal) {
  byId("count").textContent = t("waiting", { seconds });
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

function working(isWorking) {
  byId("stop").hidden = !isWorking;
  byId("many-form").querySelector("[type=submit]").disabled = isWorking;
}

function showProgress() {
  const submit = byId("many-form").querySelector("[type=submit]");
  submit.textContent = done && done < jobs.length ? t("resume") : t("classify_all");
  byId("progress").hidden = !jobs.length;
  byId("progress").max = Math.max(1, jobs.length);
  byId("progress").value = done;
  byId("count").textContent = jobs.length ? t("count", { done, total: jobs.length }) : "";
  byId("many-result").hidden = !done;
}

function nameOf({ prediction, error }) {
  if (error || !prediction) return "";
  return prediction.abstained ? t("unsure_label") : answer(prediction).name || t("none");
}

function showFilter() {
  const names = [...new Set(jobs.map(nameOf).filter(Boolean))].sort();
  const chosen = byId("filter-label").value;
  byId("filter-label").replaceChildren(new Option(t("any"), ""), ...names.map((name) => new Option(name, name)));
  byId("filter-label").value = names.includes(chosen) ? chosen : "";
}

function filtered() {
  const label = byId("filter-label").value;
  const least = Number(byId("filter-least").value), most = Number(byId("filter-most").value);
  return jobs.slice(0, done).map((job, index) => ({ ...job, number: index + 1 })).filter((job) => {
    const score = job.prediction?.score ?? 1;
    return (!label || nameOf(job) === label) && score >= least && score <= most;
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
