// Ways into the page and out of it: choose, drop and paste files; download one, all, a mask, a snippet.

import * as api from "./api.js";
import { announce, byId, save, text } from "./dom.js";

/** Call `open` with the files that are chosen, dropped or pasted. */
export function acceptFiles(open) {
  const input = byId("files");
  byId("open").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    open([...input.files]);
    input.value = "";
  });
  const veil = byId("drop");
  let depth = 0;
  const show = (by) => {
    depth = Math.max(depth + by, 0);
    veil.hidden = depth === 0;
  };
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => carries(event) && show(1));
  addEventListener("dragleave", (event) => carries(event) && show(-1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    open([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) open(files);
  });
}

export class Downloads {
  constructor(album, coder) {
    Object.assign(this, { album, coder });
    byId("download").addEventListener("click", () => this.one());
    byId("save-png").addEventListener("click", () => this.decoded());
    byId("save-mask").addEventListener("click", () => this.mask());
    byId("save-zip").addEventListener("click", () => this.all());
    byId("full-code").addEventListener("click", () => this.guarded(album.selected, () => this.finished(album.selected)));
    for (const button of document.querySelectorAll("[data-copy]"))
      button.addEventListener("click", () => this.copy(button));
  }

  /** The view whose file is to be saved: of large pictures the one at full size, coded now if need be. */
  async finished(picture) {
    if (!picture.large) return picture.view;
    picture.coding = true;
    this.album.emit("state", picture);
    try {
      return await this.coder.codeInFull(picture);
    } finally {
      picture.coding = false;
      this.album.emit("state", picture);
    }
  }

  async guarded(picture, step) {
    try {
      await step();
    } catch (error) {
      if (error.gone) this.coder.request(picture);
      this.coder.fail(picture, error);
      this.album.emit("state", picture);
    }
  }

  one() {
    const picture = this.album.selected;
    return this.guarded(picture, async () => {
      const view = await this.finished(picture);
      save(api.fileAddress(view.view), `${picture.stem}.ptc`);
    });
  }

  decoded() {
    const picture = this.album.selected;
    return this.guarded(picture, async () => {
      const view = await this.finished(picture);
      save(api.decodedAddress(view.view), `${picture.stem}.png`);
    });
  }

  /** The region as the service has it, its strength included: what `--roi` takes. */
  mask() {
    const picture = this.album.selected;
    return this.guarded(picture, async () => {
      await this.coder.sendRegion(picture);
      save(api.regionAddress(picture.facts.token), `${picture.stem}-mask.png`);
    });
  }

  async all() {
    const pictures = this.album.pictures.filter((picture) => picture.view);
    announce(text("saving_zip", { number: pictures.length }), 0);
    byId("save-zip").disabled = true;
    const views = [];
    for (const picture of pictures)
      await this.guarded(picture, async () => views.push((await this.finished(picture)).view));
    if (views.length)
      await this.guarded(this.album.selected, async () => save(await api.archive(views), "promptcodec.zip"));
    byId("save-zip").disabled = false;
  }

  async copy(button) {
    let words = text("copied");
    try {
      await navigator.clipboard.writeText(byId(button.dataset.copy).textContent);
    } catch {
      words = text("copy_failed");
    }
    button.textContent = words;
    announce(words, 0);
    setTimeout(() => (button.textContent = text("copy")), 2000);
  }
}
