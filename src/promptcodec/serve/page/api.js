// The service's routes. Every failure becomes a ServiceError, whose message is a sentence for people.

import { text } from "./dom.js";

export class ServiceError extends Error {
  constructor(message, status = 0, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter; // seconds
  }

  /** Whether the service has forgotten the picture or view. */
  get gone() {
    return this.status === 404 || this.status === 410;
  }

  /** Whether a newer request has taken this one's place. */
  get superseded() {
    return this.status === 409;
  }
}

export const cancelled = (error) => error?.name === "AbortError";

async function call(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (cancelled(error)) throw error;
    throw new ServiceError(text("no_answer"));
  }
  if (answer.ok) return answer;
  let sentence = text("bad_answer", { status: answer.status });
  try {
    const problem = await answer.json();
    if (typeof problem.detail === "string" && problem.detail) sentence = problem.detail;
    else if (problem.title) sentence = problem.title;
  } catch {
    // no problem+json: the status must do
  }
  throw new ServiceError(sentence, answer.status, Number(answer.headers.get("Retry-After")) || 0);
}

const json = async (...request) => (await call(...request)).json();
const post = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});
const path = encodeURIComponent;

export const models = () => json("/models");
export const sample = () => json("/api/sample");

export const upload = (file, signal) =>
  json("/api/pictures", {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream", "X-Name": path(file.name) },
    body: file,
    signal,
  });

export const forget = (token) => call(`/api/pictures/${path(token)}`, { method: "DELETE", keepalive: true });

export const putRegion = (token, mask, strength, signal) =>
  json(`/api/pictures/${path(token)}/region?strength=${strength}`, {
    method: "PUT",
    headers: { "Content-Type": "image/png" },
    body: mask,
    signal,
  });

export const dropRegion = (token, signal) =>
  call(`/api/pictures/${path(token)}/region`, { method: "DELETE", signal });

export const code = (token, settings, signal) => json(`/api/pictures/${path(token)}/views`, post(settings, signal));
export const metrics = (view, signal) => json(`/api/views/${path(view)}/metrics`, { signal });
export const peers = (view, signal) => json(`/api/views/${path(view)}/peers`, { signal });
export const bitsLegend = (view, signal) => json(`/api/views/${path(view)}/bits.json`, { signal });
export const curve = (token, model, look, signal) =>
  json(`/api/pictures/${path(token)}/curve?model=${path(model)}${look ? `&look=${look}` : ""}`, { signal });

export const regionAddress = (token) => `/api/pictures/${path(token)}/region`;
export const originalAddress = (token) => `/api/pictures/${path(token)}/original?view=1`;
export const pictureAddress = (view) => `/api/views/${path(view)}/picture`;
export const decodedAddress = (view) => `/api/views/${path(view)}/decoded`;
export const fileAddress = (view) => `/api/views/${path(view)}/file`;
export const bitsAddress = (view) => `/api/views/${path(view)}/bits`;

export const archive = async (views) => (await call("/api/archive", post({ views }))).blob();

/** The picture at an address, decoded and ready to be drawn. */
export async function bitmap(address, signal) {
  const blob = await (await call(address, { signal })).blob();
  try {
    return await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new ServiceError(text("undecodable"));
  }
}
