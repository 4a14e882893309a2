// Pointers, wheel and keys on the stage: move, zoom, the border; what is painted goes to the brush.

const STEP = 48; // CSS pixels an arrow key moves the picture

export class Gestures {
  pointers = new Map(); // id → [x, y]
  grip = null; // "pan" | "paint" | "border"

  constructor(viewer, brush) {
    this.viewer = viewer;
    this.brush = brush;
    const { stage, handle } = viewer;
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.up(event));
    stage.addEventListener("pointerleave", () => this.brush.hover(null));
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("dblclick", (event) => this.double(event));
    stage.addEventListener("keydown", (event) => this.key(event));
    stage.addEventListener("keyup", (event) => this.brush.keyUp(event));
    stage.addEventListener("blur", () => this.brush.blur());
    handle.addEventListener("keydown", (event) => this.handleKey(event));
  }

  point(event) {
    const frame = this.viewer.stage.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  down(event) {
    if (this.viewer.empty || event.button > 1) return;
    this.viewer.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.point(event));
    const onHandle = this.viewer.handle.contains(event.target);
    if (!onHandle) this.viewer.stage.focus({ preventScroll: true });
    if (this.pointers.size === 2) {
      if (this.grip === "paint") this.brush.cancel(); // a pinch, after all
      this.grip = "pan";
    } else if (this.pointers.size === 1) {
      this.grip = onHandle ? "border" : this.brush.on && event.button === 0 ? "paint" : "pan";
      if (this.grip === "paint") this.brush.begin(this.viewer.toPicture(event.clientX, event.clientY));
    }
    if (event.button === 1) event.preventDefault();
  }

  move(event) {
    const now = this.point(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.brush.hover(this.viewer.toPicture(event.clientX, event.clientY));
      return;
    }
    if (this.grip === "border") this.viewer.setBorder(now[0] / this.viewer.stage.clientWidth);
    else if (this.grip === "paint") this.paint(event);
    else if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
    else this.viewer.pan(now[0] - before[0], now[1] - before[1]);
    this.pointers.set(event.pointerId, now);
  }

  paint(event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of events.length ? events : [event])
      this.brush.extend(this.viewer.toPicture(clientX, clientY));
    this.brush.hover(this.viewer.toPicture(event.clientX, event.clientY));
  }

  pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    this.viewer.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.viewer.zoom(distance(now) / distance(before), middle);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.grip === "paint") {
      if (event.type === "pointercancel") this.brush.cancel();
      else this.brush.finish();
    }
    if (this.pointers.size === 0) this.grip = null;
  }

  wheel(event) {
    if (this.viewer.empty) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0015; // a pinch on a trackpad arrives as a wheel with ctrl
    this.viewer.zoom(Math.exp(-event.deltaY * lines * speed), this.point(event));
  }

  double(event) {
    if (this.brush.on || this.viewer.handle.contains(event.target)) return;
    if (this.viewer.fitted) this.viewer.actual(this.point(event));
    else this.viewer.fit();
  }

  key(event) {
    if (event.target !== this.viewer.stage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.brush.on && this.brush.key(event)) {
      event.preventDefault();
      return;
    }
    const step = STEP * (event.shiftKey ? 4 : 1);
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (!(event.key in moves)) return;
    this.viewer.pan(...moves[event.key]);
    event.preventDefault();
  }

  handleKey(event) {
    const border = this.viewer.border;
    const step = event.shiftKey ? 0.1 : 0.02;
    const places = {
      ArrowLeft: border - step, ArrowDown: border - step, ArrowRight: border + step, ArrowUp: border + step,
      PageDown: border - 0.1, PageUp: border + 0.1, Home: 0, End: 1,
    };
    if (!(event.key in places)) return;
    this.viewer.setBorder(places[event.key]);
    event.preventDefault();
  }
}
