// The strip of opened pictures.

import { byId, element, icon, text } from "./dom.js";
import * as format from "./format.js";

const SIDE = 112; // pixels of a thumbnail's longer side, two for each CSS pixel

export class Strip {
  items = new Map(); // picture → its parts

  constructor(album, coder) {
    Object.assign(this, { album, coder });
    this.list = byId("thumbs");
    album.on("list", () => this.arrange());
    album.on("select state coded", () => this.refresh());
    album.on("coded", (picture) => this.picture(picture));
  }

  arrange() {
    for (const [picture, item] of this.items)
      if (!this.album.pictures.includes(picture)) {
        item.row.remove();
        this.items.delete(picture);
      }
    for (const picture of this.album.pictures)
      if (!this.items.has(picture)) this.items.set(picture, this.item(picture));
    byId("strip").hidden = this.album.pictures.length < 2 && !this.album.pictures.some((one) => one.state === "failed");
    this.refresh();
  }

  item(picture) {
    const canvas = element("canvas", { width: 1, height: 1, "aria-hidden": "true" });
    const name = element("span", { class: "thumb-name" });
    const facts = element("span", { class: "thumb-facts" });
    const choose = element("button", { type: "button", class: "thumb", onclick: () => this.album.select(picture) });
    choose.append(canvas, element("span", { class: "thumb-words" }, name, facts));
    choose.addEventListener("keydown", (event) => {
      if (event.key === "Delete") this.close(picture);
    });
    const close = element("button", { type: "button", class: "thumb-close", onclick: () => this.close(picture) }, icon("close"));
    const row = element("li", {}, choose, close);
    this.list.append(row);
    return { row, canvas, name, facts, choose, close };
  }

  close(picture) {
    const { row } = this.items.get(picture);
    const neighbour = (row.nextElementSibling ?? row.previousElementSibling)?.firstElementChild;
    this.album.remove(picture);
    this.coder.forget(picture);
    (neighbour ?? byId("open")).focus();
  }

  /** A thumbnail of a picture that is coded for the first time. */
  picture(picture) {
    const item = this.items.get(picture);
    const bitmap = picture.view?.image;
    if (!item || !bitmap || picture.thumbnail) return;
    const scale = SIDE / Math.max(bitmap.width, bitmap.height);
    item.canvas.width = Math.max(Math.round(bitmap.width * scale), 1);
    item.canvas.height = Math.max(Math.round(bitmap.height * scale), 1);
    const context = item.canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, item.canvas.width, item.canvas.height);
    picture.thumbnail = item.canvas;
  }

  refresh() {
    for (const [picture, item] of this.items) {
      const failed = picture.state === "failed" || (picture.error && !this.coder.busy(picture));
      item.name.textContent = picture.name;
      item.facts.textContent = failed ? text("failed") : picture.view ? format.bytes(picture.view.bytes) : text("waiting");
      item.row.classList.toggle("failed", Boolean(failed));
      item.row.classList.toggle("busy", this.coder.busy(picture));
      item.close.setAttribute("aria-label", text("remove", { name: picture.name }));
      item.close.title = text("remove", { name: picture.name });
      item.choose.title = picture.error || picture.name;
      if (picture === this.album.selected) item.choose.setAttribute("aria-current", "true");
      else item.choose.removeAttribute("aria-current");
    }
  }
}
