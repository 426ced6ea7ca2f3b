// The third tab: the request of the first one, as code.

import { asked, ofModel } from "./api.js";
import { byId } from "./page.js";
import { t } from "./strings.js";

export function start() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await copy(byId(`code-${button.dataset.copy}`));
      button.textContent = t("copied");
      setTimeout(() => { button.textContent = t("copy"); }, 1500);
    });
  }
}

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
  } catch { // plain http, but for localhost, has no clipboard
    getSelection().selectAllChildren(element);
    document.execCommand("copy");
  }
}

export function show(text, needsKey) {
  const url = new URL("predict", location.href).href;
  const body = JSON.stringify({ inputs: text, explain: true, ...ofModel });
  byId("code-curl").textContent = curl(url, body, needsKey);
  byId("code-python").textContent = python(url, text, needsKey);
  byId("code-javascript").textContent = javascript(url, body, needsKey);
}

function curl(url, body, needsKey) {
  const key = needsKey ? " -H 'X-API-Key: YOUR_KEY'" : "";
  return `curl -s ${url} -H 'Content-Type: application/json'${key} \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
}

function python(url, text, needsKey) {
  const key = needsKey ? ', "X-API-Key": "YOUR_KEY"' : "";
  const model = asked === null ? "" : `, "model": ${JSON.stringify(asked)}`;
  return `import json
from urllib.request import Request, urlopen

body = json.dumps({"inputs": ${JSON.stringify(text)}, "explain": True${model}}).encode()
request = Request("${url}", body, {"Content-Type": "application/json"${key}})
print(json.load(urlopen(request))["predictions"][0])`;
}

function javascript(url, body, needsKey) {
  const key = needsKey ? ', "X-API-Key": "YOUR_KEY"' : "";
  return `const response = await fetch("${url}", {
  method: "POST",
  headers: {"Content-Type": "application/json"${key}},
  body: JSON.stringify(${body}),
});
console.log((await response.json()).predictions[0]);`;
}
