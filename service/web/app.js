// The page: its tabs, its language, its colours, and the model that it speaks to.

import { asked, info, useKey } from "./api.js";
import * as code from "./code.js";
import * as many from "./many.js";
import * as one from "./one.js";
import { byId, make, notify } from "./page.js";
import { otherLanguage, sentence, t, translate } from "./strings.js";

let model = null; // the one that is asked, as /info has it
let device = "";
let needsKey = false;

function askForKey() {
  needsKey = true;
  byId("key-form").hidden = false;
  byId("key").focus();
}

function chooseTab(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const isChosen = other === tab;
    other.setAttribute("aria-selected", String(isChosen));
    other.tabIndex = isChosen ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !isChosen;
  }
  if (tab.id === "tab-code") code.show(byId("text").value || byId("text").placeholder, needsKey);
}

function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => chooseTab(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      chooseTab(next);
      next.focus();
    });
  });
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    byId("theme").ariaPressed = String(theme === "dark");
  };
  dark.addEventListener("change", apply);
  byId("theme").addEventListener("click", () => {
    localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
  apply();
}

function showModel() {
  if (!model) return;
  document.title = byId("model").textContent = model.name;
  byId("about").textContent = model.problem_type === "regression" ? device : t("about", { count: model.labels.length, device });
}

function showModels(names) {
  byId("models").hidden = names.length < 2;
  byId("models").replaceChildren(...names.map((name) => make(
    "a",
    { href: `?${new URLSearchParams({ model: name })}`, className: "plain", ariaCurrent: String(name === model.name) },
    name,
  )));
}

async function loadModel() {
  try {
    const { limits, models, workers } = await info();
    model = models.find(({ name }) => name === asked) ?? models[0];
    device = workers.find((worker) => worker.model === model.name)?.device ?? ""; // none while they are being replaced
    showModels(models.filter(({ shadow }) => !shadow).map(({ name }) => name));
    many.limit(limits.max_texts);
    byId("text").placeholder = model.examples[0] ?? "";
    one.showExamples(model.examples, askForKey);
    showModel();
  } catch (error) {
    notify(sentence(error));
  }
}

function start() {
  startTheme();
  startTabs();
  translate();
  one.start(askForKey);
  many.start(askForKey);
  code.start();
  byId("language").addEventListener("click", () => {
    otherLanguage();
    translate();
    showModel();
    one.show();
    many.show();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value);
    byId("key-form").hidden = true;
    notify("");
    loadModel(); // with the examples, which need the key too
  });
  loadModel();
}

start();
