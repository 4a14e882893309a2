// Opens and codes pictures: one request at a time, the selected picture first, of each picture only the newest wish.

import * as api from "./api.js";
import { text } from "./dom.js";

const PATIENCE = { quick: 3000, slow: 400 }; // ms that an outdated request may go on before it is cancelled
const LONGEST_WAIT = 10; // seconds; a longer Retry-After is not obeyed

export class Coder {
  queue = []; // pictures to be opened
  running = null; // {picture, sequence, started, controller}
  looping = false;

  constructor(album) {
    this.album = album;
  }

  /** Upload a picture, then code it. */
  open(picture) {
    this.queue.push(picture);
    this.loop();
  }

  /** Code a picture with its present settings and region. */
  request(picture) {
    picture.wanted += 1;
    this.hurry();
    this.loop();
  }

  /** Whether a picture waits for an answer. */
  busy(picture) {
    return picture.state === "opening" || (picture.state === "ready" && picture.wanted > picture.done);
  }

  /** What runs is cancelled if it is in the way of what is wanted now. */
  hurry() {
    const run = this.running;
    if (!run) return;
    const { picture } = run;
    const inTheWay = picture !== this.album.selected && this.album.selected && this.busy(this.album.selected);
    if (inTheWay) run.controller.abort();
    else if (picture.wanted > run.sequence) {
      const { effort, rate } = picture.settings;
      const patience = effort > 0 || rate === "target" ? PATIENCE.slow : PATIENCE.quick;
      clearTimeout(run.timer);
      run.timer = setTimeout(() => run.controller.abort(), Math.max(0, patience - (performance.now() - run.started)));
    }
  }

  next() {
    const { selected, pictures } = this.album;
    const waits = (picture) => picture.state === "ready" && picture.wanted > picture.done;
    if (selected && waits(selected)) return { code: selected };
    const opening = this.queue.find((picture) => picture === selected) ?? this.queue[0];
    if (opening) return { open: opening };
    const other = pictures.find(waits);
    return other ? { code: other } : null;
  }

  async loop() {
    if (this.looping) return;
    this.looping = true;
    try {
      for (let task = this.next(); task; task = this.next()) {
        if (task.open) await this.upload(task.open);
        else await this.code(task.code);
      }
    } finally {
      this.looping = false;
    }
  }

  async upload(picture) {
    this.queue.splice(this.queue.indexOf(picture), 1);
    if (!this.album.pictures.includes(picture)) return;
    try {
      picture.describe(await this.patiently(picture, () => (picture.file ? api.upload(picture.file) : api.sample())));
      picture.wanted += 1;
      if (!this.album.pictures.includes(picture)) this.forget(picture); // closed meanwhile
    } catch (error) {
      this.fail(picture, error);
      picture.state = "failed";
    }
    this.album.emit("state", picture);
  }

  async code(picture) {
    const controller = new AbortController();
    const run = { picture, sequence: picture.wanted, started: performance.now(), controller };
    this.running = run;
    this.album.emit("state", picture);
    try {
      await this.sendRegion(picture, controller.signal);
      const request = wish(picture, run.sequence);
      const view = await this.patiently(picture, () => api.code(picture.facts.token, request, controller.signal));
      view.request = request;
      const seen = picture === this.album.selected || !picture.thumbnail;
      view.image = seen ? await api.bitmap(api.pictureAddress(view.view), controller.signal) : null;
      picture.view?.image?.close();
      Object.assign(picture, { view, metrics: null, peers: null, full: null, error: "" });
      picture.done = run.sequence;
      this.album.emit("coded", picture);
    } catch (error) {
      if (api.cancelled(error)) return; // it is still wanted, or its newer form is
      if (error.gone && (await this.reopen(picture))) return;
      picture.done = run.sequence;
      if (!error.superseded) this.fail(picture, error);
    } finally {
      clearTimeout(run.timer);
      this.running = null;
      this.album.emit("state", picture);
    }
  }

  /** Code at full size; the answer's view can be downloaded. */
  async codeInFull(picture) {
    if (picture.full) return picture.full;
    await this.sendRegion(picture);
    const view = picture.view;
    const request = { ...wish(picture, picture.wanted), full: true };
    const full = await this.patiently(picture, () => api.code(picture.facts.token, request));
    if (picture.view === view) picture.full = full;
    return full;
  }

  /** The region goes to the service where it has an older one. */
  async sendRegion(picture, signal) {
    const { region, facts } = picture;
    if (picture.coded || !facts.controls?.roi || region.version === picture.regionSent) return;
    const version = region.version;
    if (region.empty) await api.dropRegion(facts.token, signal);
    else await api.putRegion(facts.token, await region.png(), region.strength, signal);
    picture.regionSent = version;
  }

  /** The service has forgotten a picture: open it again, once. Whether that is possible. */
  async reopen(picture) {
    if (picture.reopened === picture.wanted) return false;
    picture.reopened = picture.wanted;
    try {
      picture.describe(picture.file ? await api.upload(picture.file) : await api.sample());
      return true;
    } catch {
      return false;
    }
  }

  /** A full queue is waited for, if the service says for how long. */
  async patiently(picture, request) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await request();
      } catch (error) {
        if (error.status !== 503 || !error.retryAfter || attempt >= 5) throw error;
        const seconds = Math.min(error.retryAfter, LONGEST_WAIT);
        picture.error = text("busy", { seconds });
        this.album.emit("state", picture);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
        picture.error = "";
      }
    }
  }

  fail(picture, error) {
    picture.error = error instanceof api.ServiceError ? error.message : text("no_answer");
    if (!(error instanceof api.ServiceError)) console.error(error);
  }

  /** Close a picture here and in the service. */
  forget(picture) {
    picture.view?.image?.close();
    if (picture.facts) api.forget(picture.facts.token).catch(() => {}); // it expires by itself
  }
}

/** What the service is asked for. */
function wish(picture, sequence) {
  const { rate, quality, targetKind, targetValue, look, effort, model } = picture.settings;
  if (picture.coded) return { look, full: false, sequence };
  const value = targetKind === "size" ? Math.round(targetValue * 1000) : targetValue;
  return {
    model: model || null,
    ...(rate === "target" ? { target: { kind: targetKind, value } } : { quality }),
    look: look || null,
    effort,
    full: false,
    sequence,
  };
}
