// Where the time of a request went: the service's own figures, and the network as what the page measured beyond them.

import { byId, make } from "./page.js";
import { t } from "./strings.js";

export function stages(latency, elapsedMs) {
  const { queue_ms, tokenize_ms, inference_ms, total_ms } = latency;
  const server = Math.max(0, total_ms - queue_ms - tokenize_ms - inference_ms);
  const network = Math.max(0, elapsedMs - total_ms);
  return [["network", network], ["queue", queue_ms], ["tokenize", tokenize_ms], ["inference", inference_ms], ["server", server]];
}

export function showTimes(latency, elapsedMs) {
  const parts = stages(latency, elapsedMs);
  const percentOfAll = 100 / parts.reduce((sum, [, milliseconds]) => sum + milliseconds, 0);
  let begun = 0;
  byId("times").replaceChildren(...parts.map(([name, milliseconds]) => {
    const fill = make("span", { className: `fill ${name}` });
    fill.style.marginLeft = `${begun * percentOfAll}%`;
    fill.style.width = `${milliseconds * percentOfAll}%`;
    begun += milliseconds;
    return make(
      "div",
      { className: "bar" },
      make("dt", { className: "name" }, t(name)),
      make("dd", { className: "track" }, fill),
      make("dd", { className: "value" }, `${milliseconds.toFixed(2)} ms`),
    );
  }));
  const { device, clock, batch_size: batch, inference_ms: inference } = latency;
  byId("pass").textContent = t("pass", { inference: inference.toFixed(3), device, clock, batch });
}
