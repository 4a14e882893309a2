// Puts the selected picture's state on the screen: both sides of the stage, the counters, the sentences, the plot.

import * as api from "./api.js";
import { byId, element, icon, press, text } from "./dom.js";
import * as format from "./format.js";
import { drawPlot } from "./plot.js";
import { command, pythonCall } from "./snippets.js";

export class Screen {
  otherShown = null; // what the other layer holds: {address, label, bytes}
  begun = null; // the picture whose original was asked for as soon as the service had it
  loading = null; // AbortController of pictures on their way

  constructor({ album, coder, viewer, comparison, measurer, panel }) {
    Object.assign(this, { album, coder, viewer, comparison, measurer, panel });
    this.defaultModel = "";
    const ours = (picture) => picture === album.selected;
    album.on("select", () => this.changeTo());
    album.on("state", (picture) => ours(picture) && this.state());
    album.on("settings region", (picture) => ours(picture) && this.texts());
    album.on("coded", (picture) => ours(picture) && this.coded());
    album.on("measured", (picture) => ours(picture) && this.measured());
    comparison.addEventListener("choice", () => {
      if (viewer.mode === "coded") viewer.setMode("split");
      this.otherSide();
    });
    byId("bits").addEventListener("click", () => this.toggleBits());
    measurer.onLegend = (legend) => this.legend(legend);
    this.state();
  }

  /** Another picture is selected. */
  async changeTo() {
    this.loading?.abort();
    const picture = this.album.selected;
    this.otherShown = this.begun = null;
    for (const layer of ["other", "coded", "bits"]) this.viewer.show(layer, null);
    byId("bits-legend").hidden = true;
    if (picture?.state !== "ready") this.viewer.resize(0, 0);
    this.state();
    this.measured();
    if (picture?.view) await this.again(picture);
  }

  /** A picture that was coded before is shown again. */
  async again(picture) {
    const { view } = picture;
    try {
      view.image ??= await api.bitmap(api.pictureAddress(view.view));
      if (picture === this.album.selected && picture.view === view) this.coded();
    } catch (error) {
      if (error.gone) this.coder.request(picture);
      else if (!api.cancelled(error)) this.report(picture, error);
    }
  }

  coded() {
    const picture = this.album.selected;
    const { facts, view } = picture;
    if (!view.image) return void this.again(picture);
    this.viewer.resize(facts.view_width, facts.view_height);
    this.viewer.show("coded", view.image);
    if (!this.measurer.bits) this.viewer.show("bits", null);
    this.otherSide();
    this.state();
    this.measured();
  }

  measured() {
    this.texts();
    this.facts();
    const picture = this.album.selected;
    drawPlot(byId("plot"), picture?.view ? picture : null, (quality) => this.panel.set({ rate: "quality", quality }));
    if (picture?.peers) this.otherSide();
  }

  /** What belongs into the other layer; null: what is there stays until the peers are measured. */
  get wantedOther() {
    const picture = this.album.selected;
    const { peer, other } = this.comparison;
    if (peer && !picture.coded) return { address: peer.picture, label: peer.label ?? other, bytes: peer.bytes };
    if (other !== "original" && !picture.coded && !picture.peers && this.otherShown) return null;
    const address = api.originalAddress(picture.facts.token);
    if (picture.coded) return { address, label: text("stored_look"), bytes: null };
    return { address, label: text("original"), bytes: picture.facts.bytes };
  }

  /** Fill the other layer: the original, or a peer's picture; what it holds stays until the next is there. */
  async otherSide() {
    const picture = this.album.selected;
    if (!picture?.facts) return;
    const wanted = this.wantedOther;
    this.texts();
    if (!wanted || this.otherShown?.address === wanted.address) return;
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    try {
      const image = await api.bitmap(wanted.address, signal);
      if (picture !== this.album.selected || signal.aborted) return;
      this.otherShown = wanted;
      this.viewer.show("other", image);
      image.close();
      this.texts();
    } catch (error) {
      if (!api.cancelled(error) && !error.gone) this.report(picture, error);
    }
  }

  report(picture, error) {
    this.coder.fail(picture, error);
    this.album.emit("state", picture);
  }

  /** Badges, buttons and snippets: what depends on settings alone. */
  texts() {
    const picture = this.album.selected;
    byId("mode-other").textContent = picture?.coded ? text("stored_look") : this.comparison.label;
    badge(byId("badge-other"), this.otherShown?.label, this.otherShown?.bytes);
    badge(byId("badge-coded"), picture?.view && text("decoded"), picture?.view?.bytes);
    const ready = picture?.state === "ready";
    byId("command").textContent = ready ? command(picture, this.defaultModel) : "";
    byId("python").textContent = ready ? pythonCall(picture, this.defaultModel) : "";
    for (const button of document.querySelectorAll("[data-copy]")) button.disabled = !ready;
  }

  /** The counters. */
  facts() {
    const picture = this.album.selected;
    const { view, metrics, facts } = picture ?? {};
    const values = {
      bytes: format.bytes(view?.bytes),
      bpp: format.bpp(view?.bpp),
      saved: picture?.coded || picture?.large ? "–" : format.saved(view?.bytes, facts?.bytes),
      psnr: format.psnr(metrics?.psnr),
      ms_ssim: format.msSsim(metrics?.ms_ssim),
      ssimulacra2: format.ssimulacra2(metrics?.ssimulacra2),
      time: format.seconds(view?.seconds),
    };
    for (const [name, value] of Object.entries(values)) {
      const node = byId(`fact-${name}`);
      const measure = name in (metrics ?? { psnr: 0, ms_ssim: 0, ssimulacra2: 0 });
      node.classList.toggle("stale", measure && !metrics && Boolean(view) && !picture.coded);
      if (measure && !metrics && view && !picture.coded && node.textContent !== "–") continue; // until the new one is there
      node.textContent = value;
    }
    this.full();
  }

  /** A picture that is shown smaller than it is: what coding it in full takes. */
  full() {
    const picture = this.album.selected;
    byId("full").hidden = !picture?.large || !picture.view;
    if (byId("full").hidden) return;
    const { facts, view, full } = picture;
    const size = { width: facts.width, height: facts.height, view_width: facts.view_width, view_height: facts.view_height };
    const key = full ? "full_done" : picture.coding ? "full_running" : "full_offer";
    const cost = full
      ? { bytes: format.bytes(full.bytes), bpp: format.bpp(full.bpp), seconds: format.seconds(full.seconds) }
      : { seconds: format.seconds(view.estimate_seconds_full) };
    byId("full-text").textContent = text(key, { ...size, ...cost });
    byId("full-code").hidden = Boolean(full);
    byId("full-code").disabled = Boolean(picture.coding);
  }

  /** What waits, what failed, what the service said of the picture. */
  state() {
    const picture = this.album.selected;
    const busy = Boolean(picture) && (this.coder.busy(picture) || picture.coding);
    byId("progress").hidden = !busy;
    byId("stage").setAttribute("aria-busy", String(busy));
    const sentence = byId("stage-sentence");
    const nothing = !picture ? text("nothing") : "";
    const opening = picture?.state === "opening" && !picture.error ? text("opening", { name: picture.name }) : "";
    const failed = picture && !picture.view ? picture.error : "";
    sentence.hidden = !(nothing || opening || failed);
    sentence.classList.toggle("failed", Boolean(failed));
    sentence.replaceChildren(...(failed ? [icon("warn")] : []), element("p", {}, failed || opening || nothing));
    const note = byId("stage-note");
    note.hidden = !(picture?.view && picture.error);
    if (note.textContent !== picture?.error) note.replaceChildren(icon("warn"), element("span", {}, picture?.error ?? ""));
    this.notes(picture);
    if (picture?.state === "ready" && this.begun !== picture) {
      this.begun = picture;
      this.viewer.resize(picture.facts.view_width, picture.facts.view_height);
      this.otherSide();
    }
    const usable = Boolean(picture?.view);
    for (const name of ["download", "save-png"]) byId(name).disabled = !usable || Boolean(picture.coding);
    byId("bits").disabled = !usable;
    byId("save-zip").hidden = this.album.pictures.length < 2;
    this.facts();
    this.texts();
  }

  notes(picture) {
    const notes = byId("notes");
    const warnings = [...(picture?.facts?.warnings ?? []), ...(picture?.view?.warnings ?? [])].map((one) => [one, "warning"]);
    const kept = (picture?.facts?.metadata ?? []).map((one) => [one, ""]);
    const words = [...warnings, ...kept];
    const shown = words.map(([sentence, kind]) =>
      element("p", { class: `note ${kind}` }, kind ? icon("warn") : null, element("span", {}, sentence)),
    );
    if (notes.textContent === words.map(([sentence]) => sentence).join("")) return; // readers hear it once
    notes.replaceChildren(...shown);
    notes.hidden = !words.length;
  }

  toggleBits() {
    this.measurer.bits = !this.measurer.bits;
    this.viewer.layers.bits.hidden = !this.measurer.bits;
    byId("bits-legend").hidden = true;
    press([byId("bits")], () => this.measurer.bits);
    if (this.measurer.bits) this.measurer.restart();
    else this.viewer.show("bits", null);
  }

  legend({ low, high }) {
    byId("bits-legend").hidden = false;
    byId("bits-legend").textContent = text("bits_legend", { low: format.fixed(low, 2), high: format.fixed(high, 2) });
  }
}

function badge(node, label, cost) {
  node.hidden = !label;
  node.replaceChildren(element("span", {}, label ?? ""), ...(cost ? [element("b", {}, format.bytes(cost))] : []));
}
