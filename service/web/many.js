// The second tab: many texts, in requests of a few hundred, into a table.

import { predict } from "./api.js";
import { FileError, parseFile, parseLines } from "./files.js";
import { byId, notify } from "./page.js";
import { sentence, t } from "./strings.js";
import { firstPage, showTable, startTable } from "./table.js";

let mostTexts = 256; // in a request, or fewer if the service allows fewer
let requestTexts = mostTexts; // of this run: fewer where the texts are long
let table = null; // {columns, rows} of a file
let jobs = []; // {text, prediction, error}
let done = 0;
let controller = null; // while a run is under way

export function start(onUnauthorized) {
  byId("many-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (done === 0 || done === jobs.length) prepare();
    run(onUnauthorized);
  });
  byId("stop").addEventListener("click", () => controller?.abort());
  byId("file").addEventListener("click", () => { byId("file").value = ""; }); // a mended file of the same name is a change
  byId("file").addEventListener("change", () => byId("file").files[0] && read(byId("file").files[0]));
  byId("lines").addEventListener("input", forget);
  byId("column").addEventListener("change", restart);
  startDrop();
  startTable();
}

// A file may be dropped anywhere: beside its place the browser would leave the page for it.
function startDrop() {
  const over = (isOver) => byId("drop").classList.toggle("over", isOver);
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    byId("tab-many").click();
    over(true);
  });
  document.addEventListener("dragleave", () => over(false));
  document.addEventListener("drop", (event) => {
    over(false);
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    read(event.dataTransfer.files[0]);
  });
}

export function limit(maxTexts) {
  mostTexts = Math.min(mostTexts, maxTexts);
}

export function show() {
  if (!jobs.length) return;
  showTable(jobs.slice(0, done));
  showProgress();
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
    table = parseFile(file.name, await file.arrayBuffer());
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    notify(t(error.sentence, { name: file.name, line: error.line }));
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
  done = 0;
  firstPage();
  requestTexts = mostTexts;
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
      show();
    }
  } catch (error) {
    if (error.name !== "AbortError") notify(sentence(error));
    if (error.type === "unauthorized") onUnauthorized();
  } finally {
    working(false);
    show();
  }
}

// Classify the next texts; a text that the service refuses keeps its error, long texts go in smaller requests,
// a busy service is waited for.
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
    else if (error.type === "too_large" && open.length > 1) requestTexts = Math.ceil(open.length / 2);
    else if (error.type === "too_large") open[0].error = error.message;
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
  submit.textContent = done && done < jobs.length && !submit.disabled ? t("resume") : t("classify_all");
  byId("progress").hidden = !jobs.length;
  byId("progress").max = Math.max(1, jobs.length);
  byId("progress").value = done;
  byId("count").textContent = jobs.length ? t("count", { done, total: jobs.length }) : "";
  byId("many-result").hidden = !done;
}
