// The other codecs at equal bytes: a table, and the choice of what is on the other side of the picture.

import * as api from "./api.js";
import { byId, element, text } from "./dom.js";
import * as format from "./format.js";

const MEASURES = ["psnr", "ms_ssim", "ssimulacra2"];
const SHOWN = { psnr: format.psnr, ms_ssim: format.msSsim, ssimulacra2: format.ssimulacra2 };

/** Events: "choice" when the other side is to be another codec. */
export class Comparison extends EventTarget {
  other = "original"; // or a codec's name

  constructor(album) {
    super();
    this.album = album;
    this.rows = byId("peer-rows");
    album.on("select coded measured settings", (picture) => picture === album.selected && this.refresh());
    this.refresh();
  }

  /** The chosen peer's row of the present picture, if there is one. */
  get peer() {
    return this.album.selected?.peers?.find((peer) => peer.codec === this.other && peer.picture) ?? null;
  }

  /** What stands on the other side, in words. */
  get label() {
    return this.other === "original" ? text("original") : (this.labels?.get(this.other) ?? this.other);
  }

  choose(other) {
    this.other = other;
    this.refresh();
    this.dispatchEvent(new Event("choice"));
  }

  /** The peer's picture; null where it is not measured yet. */
  async bitmap(signal) {
    return this.peer && api.bitmap(this.peer.picture, signal);
  }

  refresh() {
    const picture = this.album.selected;
    const { view, metrics, peers } = picture ?? {};
    if (peers) this.known = peers;
    const stale = !peers;
    this.labels = new Map((this.known ?? []).map((peer) => [peer.codec, peer.label ?? peer.codec]));
    const own = { codec: "promptcodec", label: "promptcodec", bytes: view?.bytes, ...metrics };
    const rows = [own, ...(this.known ?? [])];
    const best = Object.fromEntries(
      MEASURES.map((name) => [name, stale ? null : Math.max(...rows.map((row) => row[name] ?? -Infinity))]),
    );
    const focused = document.activeElement?.value;
    const hadFocus = this.rows.contains(document.activeElement);
    this.rows.replaceChildren(
      this.originalRow(picture),
      ...rows.map((row) => this.row(row, best, stale)),
      ...(this.known ? [] : [element("tr", { class: "waiting" }, element("td", { colspan: "5" }, text("peers_wait")))]),
    );
    if (hadFocus) this.rows.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
  }

  originalRow(picture) {
    const size = picture?.facts ? format.bytes(picture.facts.bytes) : "–";
    const row = element("tr", {}, this.head("original", text("original"), true));
    row.append(cell(""), cell("", "optional"), cell(""), cell(size));
    return row;
  }

  row(row, best, stale) {
    const own = row.codec === "promptcodec";
    const node = element("tr", { class: own ? "own" : row.error ? "without" : stale ? "stale" : "" });
    node.append(this.head(row.codec, row.label ?? row.codec, !own && !row.error));
    if (row.error) {
      node.append(element("td", { colspan: "4", class: "reason" }, text("peer_missing", { reason: row.error })));
      return node;
    }
    for (const name of MEASURES) {
      const value = SHOWN[name](row[name]);
      const winner = best[name] !== null && row[name] === best[name];
      node.append(cell(winner ? element("strong", {}, value) : value, name === "ms_ssim" ? "optional" : ""));
    }
    node.append(cell(format.bytes(row.bytes)));
    return node;
  }

  head(codec, label, choosable) {
    if (!choosable) return element("th", { scope: "row" }, element("span", { class: "choice" }, label));
    const radio = element("input", {
      type: "radio",
      name: "other",
      value: codec,
      checked: this.other === codec,
      "aria-label": text("show_codec", { codec: label }),
      onchange: () => this.choose(codec),
    });
    return element("th", { scope: "row" }, element("label", { class: `choice codec-${codec}` }, radio, label));
  }
}

const cell = (content, kind = "") => element("td", { class: kind }, content);
