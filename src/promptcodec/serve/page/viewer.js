// The stage: two pictures in register, divided by a border, zoomed and moved together; overlays above them.

import { byId, press, text } from "./dom.js";

const MOST_ZOOM = 32; // screen pixels a picture pixel
const PIXELATED = 2; // beyond this zoom pixels have edges
const LARGEST_FIT = 3; // how far a small picture grows to fill the window, in screen pixels a pixel
const ABOVE = 46; // CSS pixels above the picture for the badges, where there is room
const BELOW = 66; // below it for the tools

/** Events: "view" when zoom, position, mode or border changed. */
export class Viewer extends EventTarget {
  size = [0, 0];
  scale = 1; // CSS pixels a picture pixel
  place = [0, 0]; // of the picture's corner on the stage, CSS pixels
  fitted = true;
  border = 0.5; // part of the stage's width
  mode = "split";

  constructor() {
    super();
    this.stage = byId("stage");
    this.handle = byId("handle");
    this.layers = Object.fromEntries(
      ["other", "coded", "bits", "region"].map((name) => [name, byId(`layer-${name}`)]),
    );
    new ResizeObserver(() => (this.fitted ? this.fit() : this.apply())).observe(this.stage);
  }

  get density() {
    return window.devicePixelRatio || 1;
  }

  get empty() {
    return this.size[0] === 0;
  }

  /** A picture of this size comes; it is fitted unless the last one had the same size. */
  resize(width, height) {
    if (width === this.size[0] && height === this.size[1]) return;
    this.size = [width, height];
    this.fit();
  }

  /** Show a bitmap or canvas in a layer; null empties it. What was there stays until this call. */
  show(layer, image) {
    const canvas = this.layers[layer].firstElementChild;
    const [width, height] = this.empty ? [1, 1] : this.size;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!image) return;
    context.imageSmoothingEnabled = layer !== "bits";
    context.drawImage(image, 0, 0, width, height);
  }

  fit() {
    const [width, height] = this.size;
    const { clientWidth, clientHeight } = this.stage;
    if (!width || !clientWidth) {
      this.apply(); // hides the handle where nothing is shown
      return;
    }
    const margin = clientWidth < 600 ? 8 : 24;
    const above = clientHeight < 500 ? 8 : ABOVE;
    const room = [clientWidth - 2 * margin, clientHeight - above - BELOW];
    const scale = Math.min(room[0] / width, room[1] / height, LARGEST_FIT / this.density);
    this.scale = Math.max(scale, 0.01);
    this.place = [(clientWidth - width * this.scale) / 2, above + (room[1] - height * this.scale) / 2];
    this.fitted = true;
    this.apply();
  }

  /** Zoom by a factor; the point of the stage (CSS pixels) stays where it is, the middle by default. */
  zoom(factor, point = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    const least = Math.min(16 / Math.max(...this.size, 1), 1);
    const scale = Math.min(Math.max(this.scale * factor, least), MOST_ZOOM / this.density);
    this.place = this.place.map((value, axis) => point[axis] - (point[axis] - value) * (scale / this.scale));
    this.scale = scale;
    this.fitted = false;
    this.apply();
  }

  actual(point) {
    this.zoom(1 / this.density / this.scale, point);
  }

  pan(dx, dy) {
    this.place = [this.place[0] + dx, this.place[1] + dy];
    this.fitted = false;
    this.apply();
  }

  setBorder(part) {
    this.border = Math.min(Math.max(part, 0), 1);
    this.apply();
  }

  setMode(mode) {
    this.mode = mode;
    this.apply();
  }

  /** Original where something coded is shown, coded where the original is. */
  flip() {
    this.setMode(this.mode === "other" ? "coded" : "other");
  }

  /** The point of the picture, in its pixels, at a point of the window. */
  toPicture(clientX, clientY) {
    const frame = this.stage.getBoundingClientRect();
    return [clientX - frame.left, clientY - frame.top].map((value, axis) => (value - this.place[axis]) / this.scale);
  }

  /** The point of the stage, in CSS pixels, at a point of the picture. */
  toStage(point) {
    return point.map((value, axis) => value * this.scale + this.place[axis]);
  }

  apply() {
    this.keepInSight();
    const { clientWidth } = this.stage;
    const pixelated = this.scale * this.density > PIXELATED;
    for (const layer of Object.values(this.layers)) {
      const canvas = layer.firstElementChild;
      canvas.style.transform = `translate(${this.place[0]}px, ${this.place[1]}px) scale(${this.scale})`;
      canvas.classList.toggle("pixelated", pixelated || layer === this.layers.bits);
    }
    const border = { split: this.border, other: 1, coded: 0 }[this.mode] * clientWidth;
    this.layers.other.style.clipPath = `inset(0 ${clientWidth - border}px 0 0)`;
    this.layers.coded.style.clipPath = `inset(0 0 0 ${border}px)`;
    this.handle.style.transform = `translateX(${border}px)`;
    this.handle.hidden = this.mode !== "split" || this.empty;
    const percent = Math.round(this.border * 100);
    this.handle.setAttribute("aria-valuenow", percent);
    this.handle.setAttribute("aria-valuetext", text("split_value", { percent }));
    byId("badge-other").classList.toggle("away", this.mode === "coded");
    byId("badge-coded").classList.toggle("away", this.mode === "other");
    press(document.querySelectorAll("[data-mode]"), (button) => button.dataset.mode === this.mode);
    const zoom = `${Math.round(this.scale * this.density * 100)}%`;
    const button = byId("zoom-actual");
    button.textContent = zoom;
    button.setAttribute("aria-label", text("zoom_now", { percent: zoom }));
    this.dispatchEvent(new Event("view"));
  }

  /** A part of the picture stays on the stage, however far it is moved. */
  keepInSight() {
    const room = [this.stage.clientWidth, this.stage.clientHeight];
    this.place = this.place.map((value, axis) => {
      const length = this.size[axis] * this.scale;
      const shown = Math.min(48, length);
      return Math.min(Math.max(value, shown - length), room[axis] - shown);
    });
  }
}
