// Shortcuts of a single key, which can be switched off, and the dialog that lists them.

import { byId, element } from "./dom.js";
import { keys } from "./strings.js";

const STORED = "promptcodec-single-keys";

export function listenToKeys({ album, viewer, brush }) {
  const press = (id) => () => byId(id).click();
  const tool = (name) => () => {
    brush.use(brush.tool === name ? "" : name);
    viewer.stage.focus();
  };
  const actions = {
    f: () => viewer.flip(),
    s: () => viewer.setMode("split"),
    b: press("bits"),
    p: tool("paint"),
    e: tool("erase"),
    r: tool("rectangle"),
    "[": () => brush.resize(brush.size - 8),
    "]": () => brush.resize(brush.size + 8),
    u: press("undo"),
    q: () => byId("quality").focus(),
    "<": () => album.step(-1),
    ">": () => album.step(1),
    d: press("download"),
    "+": () => viewer.zoom(1.25),
    "=": () => viewer.zoom(1.25),
    "-": () => viewer.zoom(0.8),
    0: () => viewer.fit(),
    1: () => viewer.actual(),
    "?": press("keys"),
    escape: () => brush.use(""),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open) return;
    if (event.target.matches("input:not([type=range], [type=radio], [type=checkbox]), select, textarea")) return;
    const action = actions[event.key.toLowerCase()];
    if (!action || !byId("single-keys").checked) return;
    action();
    event.preventDefault();
  });
  dialog();
}

function dialog() {
  byId("key-list").append(
    ...keys.map(([key, what]) => element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, what))),
  );
  byId("keys").addEventListener("click", () => byId("help").showModal());
  const box = byId("single-keys");
  try {
    box.checked = localStorage.getItem(STORED) !== "off";
    box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
  } catch {
    // storage is off: it holds for this visit
  }
}
