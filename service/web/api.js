// The service behind this page: one request, one reply or one ServiceError.

export class ServiceError extends Error {
  // `type` is the service's error_type, or "unreachable" when nothing answered.
  constructor(type, message, retryAfterS = 0) {
    super(message);
    this.type = type;
    this.retryAfterS = retryAfterS;
  }
}

export const asked = new URLSearchParams(location.search).get("model"); // of several models; the first where it is null
export const ofModel = asked === null ? {} : { model: asked }; // the field of a request

let key = "";

export function useKey(value) {
  key = value;
}

function keyHeader() {
  return key ? { "X-API-Key": key } : {};
}

export async function info() {
  return (await send("info", { headers: keyHeader() })).reply;
}

// Reply of POST /predict, and the milliseconds that it was under way in all.
export async function predict(body, signal) {
  const headers = { "Content-Type": "application/json", ...keyHeader() };
  return send("predict", { method: "POST", headers, body: JSON.stringify({ ...body, ...ofModel }), signal });
}

async function send(path, options) {
  const begin = performance.now();
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("unreachable", String(error));
  }
  const reply = parse(text);
  if (!response.ok) {
    throw new ServiceError(reply.error_type ?? "internal", reply.error ?? text, Number(response.headers.get("Retry-After") ?? 0));
  }
  return { reply, elapsedMs: performance.now() - begin };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // something in between answered, a proxy say
  }
}
