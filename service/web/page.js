// Small tools for the other modules.

export const byId = (id) => document.getElementById(id);

// An element with properties, and children that are elements or strings: text stays text, whatever it looks like.
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function notify(message) {
  const notice = byId("notice");
  notice.textContent = message;
  notice.hidden = !message;
}

export const percent = (score) => `${(100 * score).toFixed(1)} %`;

export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

// What a prediction answers, in a few words: a label, several, or a number; and how probable it is.
export function answer(prediction) {
  if (prediction.value !== undefined) return { name: String(Number(prediction.value.toPrecision(6))), score: null };
  if (prediction.labels) {
    return { name: prediction.labels.join(", "), score: prediction.score };
  }
  return { name: prediction.label, score: prediction.score };
}
