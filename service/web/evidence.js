// The text with what each of its pieces adds to a label's logit.

import { byId, make, signed } from "./page.js";
import { t } from "./strings.js";

const MOST_PIECES = 8; // named one by one below the text, before the button that shows all
let showPieces = () => {}; // all of them, or the strongest alone

byId("all-pieces").addEventListener("click", () => showPieces(byId("pieces").children.length === MOST_PIECES));

// What each character adds: a piece's contribution is spread evenly over its characters.
export function perCharacter(length, pieces) {
  const sums = new Float64Array(length);
  for (const { start, end, contribution } of pieces) {
    for (let at = start; at < end; at += 1) sums[at] += contribution / (end - start);
  }
  return sums;
}

// Neighbouring characters that the same pieces cover, as {start, end, sum}.
export function segments(characters, pieces) {
  const sums = perCharacter(characters.length, pieces);
  const cuts = new Set([0, characters.length, ...pieces.flatMap(({ start, end }) => [start, end])]);
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(1).map((end, index) => ({ start: places[index], end, sum: sums[places[index]] }));
}

export function showEvidence(text, pieces) {
  const characters = Array.from(text); // offsets count code points, JavaScript strings UTF-16 units
  const parts = segments(characters, pieces);
  const most = Math.max(...parts.map(({ sum }) => Math.abs(sum)), 1e-9);
  const marks = parts.map((part) => mark(part, characters, most, pieces));
  byId("evidence").replaceChildren(...marks);
  byId("tip").textContent = pieces.length ? t("tip") : t("no_evidence");
  showPieces = (all) => {
    const chosen = all ? pieces : pieces.slice(0, MOST_PIECES);
    byId("pieces").replaceChildren(...chosen.map((piece) => item(piece, parts, marks)));
    byId("all-pieces").hidden = pieces.length <= MOST_PIECES;
    byId("all-pieces").textContent = all ? t("fewer") : t("all_pieces", { count: pieces.length });
  };
  showPieces(false);
}

function mark({ start, end, sum }, characters, most, pieces) {
  const element = make("mark", {}, characters.slice(start, end).join(""));
  if (!sum) return element;
  const strength = 0.12 + 0.6 * (Math.abs(sum) / most);
  element.style.background = `rgba(var(${sum > 0 ? "--for" : "--against"}), ${strength.toFixed(3)})`;
  const covering = pieces.filter((piece) => piece.start <= start && end <= piece.end);
  const lines = covering.slice(0, 5).map((piece) => `${piece.text} ${signed(piece.contribution)}`);
  element.title = lines.join("\n");
  element.addEventListener("mouseenter", () => (byId("tip").textContent = lines.join("   ")));
  return element;
}

function item(piece, parts, marks) {
  const name = t("piece", { text: piece.text, value: signed(piece.contribution) });
  const button = make("button", { type: "button", ariaLabel: name }, `${piece.text} ${signed(piece.contribution)}`);
  const choose = (chosen) => {
    parts.forEach(({ start, end }, index) => {
      marks[index].classList.toggle("chosen", chosen && piece.start <= start && end <= piece.end);
    });
    if (chosen) byId("tip").textContent = name;
  };
  for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => choose(true));
  for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => choose(false));
  return make("li", {}, button);
}
