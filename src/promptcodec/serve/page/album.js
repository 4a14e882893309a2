// The opened pictures, each with its settings and results. Others listen to the album's events.

import { RegionMask } from "./region.js";

export const defaults = {
  rate: "quality", // or "target"
  quality: 50,
  targetKind: "size",
  targetValue: 20, // kB where the kind is size
  look: 0,
  effort: 0,
  model: "",
};

export class Picture {
  constructor(name, file, settings) {
    this.name = name;
    this.file = file; // null: the sample, which the service has
    this.settings = { ...settings };
    this.state = "opening"; // "ready" | "failed"
    this.error = ""; // a sentence
    this.facts = null; // the service's answer to the upload
    this.region = null; // a RegionMask once the size is known
    this.regionSent = 0; // version of the region that the service has
    this.wanted = 0; // number of the newest request
    this.done = 0; // number of the newest answer
    this.view = null; // the service's answer to the newest coding
    this.full = null; // the same, coded at full size
    this.metrics = null; // of this.view
    this.peers = null; // of this.view, a list
    this.curve = null; // {key, points}
    this.history = []; // {codec, bpp, psnr}: what peers reached at other sizes
    this.thumbnail = null; // a canvas
    this.coding = false; // whether it is being coded at full size
  }

  /** Take the service's description of this picture. */
  describe(facts) {
    this.facts = facts;
    this.state = "ready";
    this.error = "";
    if (facts.name) this.name = facts.name;
    this.regionSent = 0;
    if (!this.region) this.region = new RegionMask(facts.view_width, facts.view_height);
    if (this.coded && this.view === null) this.settings.look = facts.look ?? 0;
  }

  /** Whether it was opened as a .ptc file, which can be decoded but not encoded anew. */
  get coded() {
    return this.facts?.kind === "ptc";
  }

  /** Whether it is shown smaller than it is. */
  get large() {
    return this.facts !== null && !this.coded && this.facts.width > this.facts.view_width;
  }

  get pixels() {
    return this.facts.width * this.facts.height;
  }

  /** The name without its folder and ending. */
  get stem() {
    return this.name.replace(/^.*[\\/]/, "").replace(/\.[^.]+$/, "") || "picture";
  }
}

/** Events: "list", "select", "settings", "state", "coded", "measured", "region"; detail is the picture. */
export class Album extends EventTarget {
  pictures = [];
  selected = null;

  emit(kind, picture) {
    this.dispatchEvent(new CustomEvent(kind, { detail: picture }));
  }

  on(kinds, listener) {
    for (const kind of kinds.split(" ")) this.addEventListener(kind, (event) => listener(event.detail, kind));
  }

  add(picture) {
    this.pictures.push(picture);
    this.emit("list", picture);
  }

  select(picture) {
    if (picture === this.selected) return;
    this.selected = picture;
    this.emit("select", picture);
  }

  remove(picture) {
    const place = this.pictures.indexOf(picture);
    if (place < 0) return;
    this.pictures.splice(place, 1);
    this.emit("list", picture);
    if (picture === this.selected) this.select(this.pictures[Math.min(place, this.pictures.length - 1)] ?? null);
  }

  /** The picture before or after the selected one. */
  step(by) {
    const place = this.pictures.indexOf(this.selected) + by;
    if (this.pictures[place]) this.select(this.pictures[place]);
  }

  /** Change settings of the selected picture. */
  change(settings) {
    if (!this.selected) return;
    Object.assign(this.selected.settings, settings);
    this.emit("settings", this.selected);
  }
}
