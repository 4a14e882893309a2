// The tool that paints a region: by pointer, or by keys with a cursor of its own. Its controls in the panel.

import { announce, byId, press, text } from "./dom.js";
import { plain } from "./format.js";

export class Brush {
  tool = ""; // "" | "paint" | "erase" | "rectangle"
  size = 48; // pixels of the view
  cursor = null; // [x, y] of the keyboard's brush, in pixels of the view
  drawing = ""; // "" | "pointer" | "keys"

  constructor(album, viewer, changed) {
    this.album = album;
    this.viewer = viewer;
    this.changed = changed; // called with a picture whose region is new
    this.tools = document.querySelectorAll("[data-tool]");
    for (const button of this.tools) button.addEventListener("click", () => this.use(button.dataset.tool));
    byId("brush").addEventListener("click", () => this.use(this.on ? "" : "paint"));
    byId("brush-size").addEventListener("input", (event) => this.resize(Number(event.target.value)));
    byId("strength").addEventListener("input", (event) => this.weigh(Number(event.target.value)));
    byId("undo").addEventListener("click", () => this.edit((region) => region.undo()));
    byId("clear").addEventListener("click", () => this.edit((region) => region.clear()));
    viewer.addEventListener("view", () => this.place());
    album.on("select state coded", () => this.refresh());
  }

  get region() {
    return this.album.selected?.region ?? null;
  }

  /** Whether the selected picture can be told a region. */
  get usable() {
    const picture = this.album.selected;
    return Boolean(picture?.facts && !picture.coded && picture.facts.controls?.roi);
  }

  get on() {
    return this.tool !== "" && this.usable;
  }

  use(tool) {
    if (this.drawing) this.cancel();
    this.tool = this.usable ? tool : "";
    if (this.on && this.viewer.mode === "other") this.viewer.setMode("split");
    this.cursor = null;
    this.refresh();
  }

  resize(size) {
    this.size = Math.min(Math.max(size, 8), 256);
    byId("brush-size").value = this.size;
    byId("brush-size-value").textContent = this.size;
    this.place();
  }

  weigh(strength) {
    byId("strength-value").textContent = plain(strength, 2);
    this.region?.setStrength(strength);
    if (this.region && !this.region.empty) this.changed(this.album.selected);
  }

  edit(change) {
    if (!this.region) return;
    change(this.region);
    this.refresh();
    this.changed(this.album.selected);
  }

  begin(point, by = "pointer") {
    this.drawing = by;
    this.region.begin(this.tool, this.size, point);
    this.refresh();
  }

  extend(point) {
    if (!this.drawing) return;
    this.region.extend(point);
    this.viewer.show("region", this.region.canvas);
  }

  finish() {
    if (!this.drawing) return;
    this.drawing = "";
    const before = this.region.version;
    this.region.finish();
    this.refresh();
    if (this.region.version === before) return;
    announce(text(this.tool === "erase" ? "erased" : "painted"));
    this.changed(this.album.selected);
  }

  cancel() {
    if (!this.drawing) return;
    this.drawing = "";
    this.region.cancel();
    this.refresh();
  }

  /** A key on the stage while the brush is on; whether it was one of ours. */
  key(event) {
    const step = Math.max(Math.round(this.size / 4), 1) * (event.shiftKey ? 4 : 1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === " ") {
      if (!event.repeat) this.press();
      return true;
    }
    if (event.key === "Escape") {
      if (this.drawing) this.cancel();
      else this.use("");
      return true;
    }
    if (!(event.key in moves)) return false;
    this.cursor ??= this.region && [this.region.width / 2, this.region.height / 2];
    this.cursor = this.cursor.map((value, axis) =>
      Math.min(Math.max(value + moves[event.key][axis], 0), axis ? this.region.height : this.region.width),
    );
    if (this.drawing === "keys") this.extend(this.cursor);
    this.place();
    announce(text("brush_at", { x: Math.round(this.cursor[0]), y: Math.round(this.cursor[1]) }), 400);
    return true;
  }

  /** Space: a dab, a line while it is held; the first, then the second corner of a rectangle. */
  press() {
    this.cursor ??= [this.region.width / 2, this.region.height / 2];
    if (this.tool === "rectangle" && this.drawing === "keys") this.finish();
    else {
      this.begin(this.cursor, "keys");
      if (this.tool === "rectangle") announce(text("corner_set"), 0);
    }
    this.place();
  }

  keyUp(event) {
    if (event.key === " " && this.drawing === "keys" && this.tool !== "rectangle") this.finish();
  }

  blur() {
    if (this.drawing === "keys" && this.tool !== "rectangle") this.finish();
    this.cursor = null;
    this.place();
  }

  /** The pointer is over a point of the picture, or has left (null). A line drawn by keys goes on where it was. */
  hover(point) {
    this.pointer = point;
    if (point && this.drawing !== "keys") this.cursor = null;
    this.place();
  }

  /** Draw the brush's outline where the pointer or the keyboard's cursor is. */
  place() {
    const ring = byId("brush-cursor");
    const point = this.cursor ?? this.pointer;
    ring.hidden = !this.on || !point;
    if (ring.hidden) return;
    const [x, y] = this.viewer.toStage(point);
    const size = this.tool === "rectangle" ? 16 : Math.max(this.size * this.viewer.scale, 4);
    ring.style.width = ring.style.height = `${size}px`;
    ring.style.transform = `translate(${x - size / 2}px, ${y - size / 2}px)`;
    ring.classList.toggle("cross", this.tool === "rectangle");
  }

  refresh() {
    if (!this.usable) this.tool = "";
    press(this.tools, (button) => button.dataset.tool === this.tool);
    press([byId("brush")], () => this.on);
    byId("brush").disabled = !this.usable;
    for (const control of document.querySelectorAll("#region-section button, #region-section input"))
      control.disabled = !this.usable;
    const painted = this.usable && this.region.steps.length > 0;
    byId("brush-settings").hidden = !this.on && !painted;
    for (const name of ["undo", "clear", "save-mask"]) byId(name).disabled = !painted;
    this.viewer.stage.classList.toggle("painting", this.on);
    if (this.region) {
      byId("strength").value = this.region.strength;
      byId("strength-value").textContent = plain(this.region.strength, 2);
    }
    byId("region-hint").textContent = text(this.usable || this.album.selected?.state !== "ready" ? "region_hint" : "region_none");
    this.viewer.show("region", this.usable ? this.region.canvas : null);
    this.place();
  }
}

