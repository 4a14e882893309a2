// The region of one picture: a mask that is painted, undone and sent.

import { canvasBlob } from "./dom.js";

const MOST_STEPS = 100; // that can be undone; each keeps what it changed
const PAINT = "#8b3dff"; // how the mask is shown; its alpha is what counts

export class RegionMask {
  version = 0; // rises with every change
  steps = []; // {tool, size, points} or {tool: "rectangle", points: [corner, corner]}
  strength = 1;

  constructor(width, height) {
    this.canvas = new OffscreenCanvas(width, height);
    this.base = new OffscreenCanvas(width, height); // steps too old to be undone
  }

  get width() {
    return this.canvas.width;
  }

  get height() {
    return this.canvas.height;
  }

  get context() {
    return this.canvas.getContext("2d");
  }

  /** Whether anything is painted. Strokes that were erased again count as painted until they are undone. */
  get empty() {
    return this.steps.every((step) => step.tool === "erase") && !this.baked;
  }

  /** The rectangle x,y,w,h if that is all there is, else null; pixels of the view. */
  get rectangle() {
    if (this.baked || this.steps.length !== 1 || this.steps[0].tool !== "rectangle") return null;
    return box(this.steps[0].points, this.width, this.height);
  }

  /** Begin a stroke or rectangle at a point [x, y] in pixels of the view. */
  begin(tool, size, point) {
    if (this.steps.length >= MOST_STEPS) {
      draw(this.base.getContext("2d"), this.steps.shift());
      this.baked = true;
    }
    this.steps.push({ tool, size, points: tool === "rectangle" ? [point, point] : [point] });
    this.redraw();
  }

  /** Continue what was begun. */
  extend(point) {
    const step = this.steps.at(-1);
    if (!step) return;
    if (step.tool === "rectangle") {
      step.points[1] = point;
      this.redraw();
    } else {
      step.points.push(point);
      draw(this.context, { ...step, points: step.points.slice(-2) });
    }
  }

  /** What was begun is done; a rectangle without an area is forgotten. */
  finish() {
    if (this.steps.at(-1)?.tool === "rectangle" && !box(this.steps.at(-1).points, this.width, this.height)) {
      this.steps.pop();
      this.redraw();
      return;
    }
    this.version += 1;
  }

  /** Forget what was begun. */
  cancel() {
    this.steps.pop();
    this.redraw();
  }

  undo() {
    if (!this.steps.length) return;
    this.steps.pop();
    this.version += 1;
    this.redraw();
  }

  clear() {
    this.steps = [];
    this.baked = false;
    this.base.getContext("2d").clearRect(0, 0, this.width, this.height);
    this.version += 1;
    this.redraw();
  }

  setStrength(strength) {
    this.strength = strength;
    this.version += 1;
  }

  redraw() {
    this.context.clearRect(0, 0, this.width, this.height);
    this.context.drawImage(this.base, 0, 0);
    for (const step of this.steps) draw(this.context, step);
  }

  /** A PNG of the mask: white matters, black does not. */
  async png() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.width, this.height];
    const context = canvas.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, this.width, this.height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.width, this.height);
    return canvasBlob(canvas);
  }
}

function draw(context, { tool, size, points }) {
  context.globalCompositeOperation = tool === "erase" ? "destination-out" : "source-over";
  context.fillStyle = context.strokeStyle = PAINT;
  if (tool === "rectangle") {
    const area = box(points, context.canvas.width, context.canvas.height);
    if (area) context.fillRect(...area);
  } else {
    context.lineWidth = tool === "erase" ? size + 4 : size; // no rim stays of a stroke that is erased
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }
  context.globalCompositeOperation = "source-over";
}

/** [x, y, w, h] in whole pixels inside the picture, or null where it is empty. */
function box([[x0, y0], [x1, y1]], width, height) {
  const within = (value, limit) => Math.round(Math.min(Math.max(value, 0), limit));
  const [left, right] = [within(Math.min(x0, x1), width), within(Math.max(x0, x1), width)];
  const [top, bottom] = [within(Math.min(y0, y1), height), within(Math.max(y0, y1), height)];
  return right > left && bottom > top ? [left, top, right - left, bottom - top] : null;
}
