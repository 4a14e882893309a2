// Puts the page together.

import { Album, Picture, defaults } from "./album.js";
import * as api from "./api.js";
import { Brush } from "./brush.js";
import { Coder } from "./coder.js";
import { Comparison } from "./compare.js";
import { byId, fillStrings } from "./dom.js";
import { Downloads, acceptFiles } from "./files.js";
import { Gestures } from "./gestures.js";
import { listenToKeys } from "./keys.js";
import { Measurer } from "./measure.js";
import { Panel } from "./panel.js";
import { Screen } from "./show.js";
import { Strip } from "./strip.js";
import { toggleTheme } from "./theme.js";
import { Viewer } from "./viewer.js";

fillStrings(document);
const album = new Album();
const coder = new Coder(album);
const viewer = new Viewer();
const panel = new Panel(album);
new Strip(album, coder);
const comparison = new Comparison(album);
const measurer = new Measurer(album, coder, viewer);
const brush = new Brush(album, viewer, (picture) => {
  album.emit("region", picture);
  coder.request(picture);
});
const screen = new Screen({ album, coder, viewer, comparison, measurer, panel });
new Gestures(viewer, brush);
new Downloads(album, coder);
listenToKeys({ album, viewer, brush });
album.on("settings", (picture) => picture.state === "ready" && coder.request(picture));
album.on("select", (picture) => picture && coder.loop());

for (const button of document.querySelectorAll("[data-mode]"))
  button.addEventListener("click", () => viewer.setMode(button.dataset.mode));
byId("zoom-in").addEventListener("click", () => viewer.zoom(1.25));
byId("zoom-out").addEventListener("click", () => viewer.zoom(0.8));
byId("zoom-actual").addEventListener("click", () => viewer.actual());
byId("zoom-fit").addEventListener("click", () => viewer.fit());
byId("theme").addEventListener("click", toggleTheme);

/** Open files with the settings that are on the screen; the sample makes room for them. */
function open(files) {
  const settings = album.selected && !album.selected.coded ? album.selected.settings : { ...defaults, model };
  const sample = album.pictures.find((picture) => picture.file === null);
  const pictures = files.map((file) => new Picture(file.name, file, settings));
  for (const picture of pictures) {
    album.add(picture);
    coder.open(picture);
  }
  if (!pictures.length) return;
  album.select(pictures[0]);
  if (sample) {
    album.remove(sample);
    coder.forget(sample);
  }
}

let model = "";
acceptFiles(open);
// A page that is gone for good frees what the service holds for it.
addEventListener("pagehide", (event) => {
  if (!event.persisted) album.pictures.forEach((picture) => coder.forget(picture));
});

try {
  const models = await api.models();
  model = screen.defaultModel = (models.find((one) => one.default) ?? models[0]).name;
  panel.offer(models);
  for (const picture of album.pictures) picture.settings.model ||= model;
} catch (error) {
  byId("stage-sentence").textContent = error.message;
}
if (!album.pictures.length) {
  const sample = new Picture("photo.jpg", null, { ...defaults, model });
  album.add(sample);
  album.select(sample);
  coder.open(sample);
}
