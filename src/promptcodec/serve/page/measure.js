// What follows a coded picture once the settings rest: measures, the curve, the peers, the bits.

import * as api from "./api.js";
import { announce, text } from "./dom.js";
import * as format from "./format.js";

const MOST_TRIES = 10; // where the service is busy
const REST = { metrics: 150, peers: 500 }; // ms without a change

export class Measurer {
  timers = [];
  controller = null;

  constructor(album, coder, viewer) {
    Object.assign(this, { album, coder, viewer, bits: false });
    album.on("coded select", (picture) => picture === album.selected && this.restart());
    album.on("settings region", (picture) => picture === album.selected && this.stop());
  }

  stop() {
    this.timers.forEach(clearTimeout);
    this.controller?.abort();
  }

  restart() {
    this.stop();
    const picture = this.album.selected;
    if (!picture?.view || this.coder.busy(picture)) return;
    const controller = (this.controller = new AbortController());
    const later = (delay, step) =>
      new Promise((resolve) => this.timers.push(setTimeout(() => resolve(this.guarded(picture, step)), delay)));
    const { signal } = controller;
    this.timers = [];
    this.guarded(picture, () => this.overlay(picture, signal));
    if (picture.coded) return;
    later(REST.metrics, () => this.measure(picture, signal));
    later(REST.peers, () => Promise.all([this.compare(picture, signal), this.trace(picture, signal)]));
  }

  /** A failed measure leaves its sentence with the picture, and all else as it is. A busy service is asked again. */
  async guarded(picture, step, tries = MOST_TRIES) {
    const { controller } = this;
    try {
      await step();
    } catch (error) {
      if (api.cancelled(error) || error.superseded || error.gone || controller.signal.aborted) return;
      if (error.status === 503 && tries > 1) {
        const wait = 1000 * Math.max(error.retryAfter, 1);
        this.timers.push(setTimeout(() => this.guarded(picture, step, tries - 1), wait));
        return;
      }
      if (!(error instanceof api.ServiceError)) throw error;
      picture.error = error.message;
      this.album.emit("state", picture);
    }
  }

  async measure(picture, signal) {
    const { view } = picture;
    const metrics = picture.metrics ?? (await api.metrics(view.view, signal));
    if (picture.view !== view) return;
    picture.metrics = metrics;
    this.album.emit("measured", picture);
    const [psnr, ssimulacra2] = [format.psnr(metrics.psnr), format.ssimulacra2(metrics.ssimulacra2)];
    const coded = { name: picture.name, bytes: format.bytes(view.bytes), bpp: format.bpp(view.bpp) };
    announce(`${text("coded", coded)} ${text("measured", { psnr, ssimulacra2 })}`);
  }

  async compare(picture, signal) {
    const { view } = picture;
    const peers = picture.peers ?? (await api.peers(view.view, signal));
    if (picture.view !== view) return;
    if (picture.peers === null)
      for (const { codec, bytes, psnr } of peers)
        if (psnr) picture.history.push({ codec, bpp: (8 * bytes) / (view.width * view.height), psnr });
    picture.peers = peers;
    this.album.emit("measured", picture);
  }

  async trace(picture, signal) {
    const { model, look } = picture.settings;
    const key = `${model} ${look} ${picture.regionSent}`;
    if (picture.curve?.key === key) return;
    const points = await api.curve(picture.facts.token, model, look, signal);
    picture.curve = { key, points };
    this.album.emit("measured", picture);
  }

  /** The bit-allocation map of the present file, if it is to be shown. */
  async overlay(picture, signal) {
    if (!this.bits) return;
    const { view } = picture;
    const [image, legend] = await Promise.all([
      api.bitmap(api.bitsAddress(view.view), signal),
      api.bitsLegend(view.view, signal),
    ]);
    if (picture.view !== view || !this.bits) return;
    this.viewer.show("bits", image);
    image.close();
    this.onLegend?.(legend);
  }
}
