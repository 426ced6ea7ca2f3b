// The first tab: one text, its answer, its evidence, its time; and what was asked before.

import { predict } from "./api.js";
import { showEvidence } from "./evidence.js";
import { answer, byId, make, notify, percent } from "./page.js";
import { sentence, t } from "./strings.js";
import { showTimes } from "./times.js";

const MOST_BARS = 8; // before the button that shows all
const history = []; // newest first
let shown = null; // {text, prediction, latency, elapsedMs, explained}
let allBars = false;
let asked = 0; // questions; only the answer to the last one is shown

export function start(onUnauthorized) {
  byId("one-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(byId("text").value, onUnauthorized);
  });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("one-form").requestSubmit();
  });
  byId("all-bars").addEventListener("click", () => {
    allBars = !allBars;
    showBars();
  });
}

export function showExamples(examples, onUnauthorized) {
  byId("examples").replaceChildren(...examples.map((text) => {
    const button = make("button", { type: "button", title: text }, text);
    button.addEventListener("click", () => {
      byId("text").value = text;
      ask(text, onUnauthorized);
    });
    return button;
  }));
}

async function ask(text, onUnauthorized, label = null) {
  if (!text.trim()) return notify(t("nothing"));
  const button = byId("one-form").querySelector("[type=submit]");
  const number = ++asked;
  button.disabled = true;
  try {
    const { reply, elapsedMs } = await predict({ inputs: text, explain: true, ...(label && { explain_label: label }) });
    const prediction = reply.predictions[0];
    const entry = { text, prediction, latency: reply.latency, elapsedMs, explained: label ?? prediction.label };
    if (!label) remember(entry);
    if (number !== asked) return showHistory();
    notify("");
    show(entry);
  } catch (error) {
    if (number === asked) notify(sentence(error));
    if (error.type === "unauthorized") onUnauthorized();
  } finally {
    if (number === asked) button.disabled = false;
  }
}

export function show(entry = shown) {
  if (!entry) return;
  shown = entry;
  const { name, score } = answer(entry.prediction);
  byId("result").hidden = false;
  byId("label").textContent = name || t("none");
  byId("score").textContent = score === null ? "" : percent(score);
  byId("unsure").hidden = !entry.prediction.abstained;
  byId("why").textContent = entry.explained ? t("why", { label: entry.explained }) : t("why_value");
  showBars();
  showEvidence(entry.text, entry.prediction.evidence ?? []);
  showTimes(entry.latency, entry.elapsedMs);
  showHistory();
}

function showBars() {
  const scores = Object.entries(shown.prediction.scores ?? {});
  byId("bars").replaceChildren(...scores.slice(0, allBars ? undefined : MOST_BARS).map(bar));
  byId("all-bars").hidden = scores.length <= MOST_BARS;
  byId("all-bars").textContent = allBars ? t("fewer") : t("all_bars", { count: scores.length });
}

function bar([label, score]) {
  const fill = make("span", { className: "fill" });
  fill.style.width = `${100 * score}%`;
  const button = make(
    "button",
    { type: "button", className: "bar", ariaPressed: String(label === shown.explained) },
    make("span", { className: "name", title: label }, label),
    make("span", { className: "track" }, fill),
    make("span", { className: "value" }, percent(score)),
  );
  button.addEventListener("click", async () => {
    await ask(shown.text, () => {}, label);
    [...byId("bars").children].find((other) => other.ariaPressed === "true")?.focus();
  });
  return button;
}

function remember(entry) {
  const before = history.findIndex(({ text }) => text === entry.text);
  if (before >= 0) history.splice(before, 1);
  history.unshift(entry);
}

function showHistory() {
  byId("history-box").hidden = !history.length;
  byId("history").replaceChildren(...history.map((entry) => {
    const { name, score } = answer(entry.prediction);
    const text = `${entry.prediction.abstained ? t("unsure_label") : name || t("none")}${score === null ? "" : ` ${percent(score)}`}`;
    const button = make(
      "button",
      { type: "button" },
      make("span", { className: "asked" }, entry.text),
      make("span", { className: "answer" }, text),
    );
    button.addEventListener("click", () => {
      asked += 1;
      byId("one-form").querySelector("[type=submit]").disabled = false;
      byId("text").value = entry.text;
      show(entry);
    });
    return make("li", {}, button);
  }));
}
