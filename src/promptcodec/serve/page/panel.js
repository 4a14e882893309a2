// The controls of rate, look, effort and model: they show the selected picture's settings and change them.

import { byId, element, press, text } from "./dom.js";
import { plain } from "./format.js";

const TARGETS = {
  size: { value: 20, min: 0.1, step: 0.1 },
  bpp: { value: 0.5, min: 0.01, step: 0.01 },
  psnr: { value: 32, min: 10, step: 0.1 },
  ssimulacra2: { value: 70, min: 0, step: 1 },
  ms_ssim: { value: 0.97, min: 0, step: 0.001 },
};
const RANGES = ["quality", "look", "effort"];

export class Panel {
  targets = Object.fromEntries(Object.entries(TARGETS).map(([kind, { value }]) => [kind, value]));

  constructor(album) {
    this.album = album;
    this.rates = document.querySelectorAll("[data-rate]");
    for (const name of RANGES) this.pairUp(name);
    for (const button of this.rates)
      button.addEventListener("click", () => this.set({ rate: button.dataset.rate }));
    byId("target-kind").append(
      ...Object.keys(TARGETS).map((kind) => element("option", { value: kind }, text(`target_${kind}`))),
    );
    byId("target-kind").addEventListener("change", (event) => this.aim(event.target.value));
    byId("target-value").addEventListener("input", (event) => this.aimAt(event.target));
    byId("model").addEventListener("change", (event) => this.set({ model: event.target.value }));
    byId("apply-all").addEventListener("click", () => this.applyToAll());
    album.on("select settings state coded list", () => this.refresh());
  }

  /** A slider and the number beside it move together. */
  pairUp(name) {
    const [range, number] = [byId(name), byId(`${name}-number`)];
    const values = { quality: { rate: "quality" } }[name] ?? {};
    range.addEventListener("input", () => {
      number.value = plain(range.value);
      this.set({ ...values, [name]: Number(range.value) });
    });
    number.addEventListener("input", () => {
      const value = number.valueAsNumber;
      if (!(value >= Number(number.min) && value <= Number(number.max))) return;
      this.set({ ...values, [name]: value });
    });
    number.addEventListener("blur", () => this.refresh());
  }

  set(settings) {
    this.album.change(settings);
  }

  aim(kind) {
    this.set({ targetKind: kind, targetValue: this.targets[kind] });
  }

  aimAt(input) {
    const value = input.valueAsNumber;
    input.setAttribute("aria-invalid", String(!(value >= 0)));
    if (!(value >= 0)) return;
    this.targets[this.album.selected?.settings.targetKind ?? "size"] = value;
    this.set({ targetValue: value });
  }

  applyToAll() {
    const { selected, pictures } = this.album;
    for (const picture of pictures) {
      if (picture === selected || picture.coded) continue;
      Object.assign(picture.settings, selected.settings);
      this.album.emit("settings", picture);
    }
  }

  offer(models) {
    byId("model").replaceChildren(
      ...models.map(({ name }) => element("option", { value: name }, name)),
    );
    this.refresh();
  }

  refresh() {
    const { selected, pictures } = this.album;
    const usable = selected?.state === "ready";
    const coded = Boolean(selected?.coded);
    const settings = selected?.settings;
    byId("rate-title").textContent = text(coded ? "ptc_title" : "rate_title");
    for (const name of ["encode-settings", "encoder-settings", "region-section", "compare-section", "plot-section"])
      byId(name).hidden = coded;
    byId("look-field").hidden = Boolean(selected?.facts && !selected.facts.controls?.look);
    byId("apply-all").hidden = coded || pictures.length < 2;
    for (const control of document.querySelectorAll("#encode-settings :is(button, input, select), #encoder-settings :is(input, select), #look-field input, #apply-all"))
      control.disabled = !usable;
    if (!settings) return;
    press(this.rates, (button) => button.dataset.rate === settings.rate);
    byId("quality-field").hidden = settings.rate !== "quality";
    byId("target-field").hidden = settings.rate !== "target";
    for (const name of RANGES) {
      const [range, number] = [byId(name), byId(`${name}-number`)];
      range.value = settings[name];
      if (number !== document.activeElement) number.value = plain(settings[name]);
      const part = (range.value - range.min) / (range.max - range.min);
      range.style.setProperty("--filled", `${part * 100}%`);
    }
    const target = byId("target-value");
    byId("target-kind").value = settings.targetKind;
    Object.assign(target, { min: TARGETS[settings.targetKind].min, step: "any" });
    if (target !== document.activeElement) target.value = plain(settings.targetValue);
    const { view } = selected;
    const reached = view?.request?.target && Number.isFinite(view.quality);
    byId("target-result").textContent = reached ? text("target_result", { quality: plain(view.quality, 1) }) : "";
    if (settings.model) byId("model").value = settings.model;
  }
}
