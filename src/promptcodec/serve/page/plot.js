// A plot of rate against quality: the curve, the point we are at, the peers' points.

import { svg, text } from "./dom.js";
import * as format from "./format.js";

const [WIDTH, HEIGHT] = [336, 224];
const FRAME = { left: 38, right: 10, top: 12, bottom: 36 };
const SHAPES = {
  jpeg: "M-4-4h8v8h-8z",
  webp: "M0-5.500 5 4h-10z",
  avif: "M0-5.500 5.500 0 0 5.500-5.500 0z",
  jpegxl: "M-1.500-5h3v3.500h3.500v3h-3.500v3.500h-3v-3.500h-3.500v-3h3.500z",
};

/** Draw into a container; onQuality is called with a quality where the curve is pressed. */
export function drawPlot(container, picture, onQuality) {
  const view = picture?.view;
  const now = view && picture.metrics ? { bpp: view.bpp, psnr: picture.metrics.psnr } : null;
  const curve = picture?.curve?.points ?? [];
  if (!now && !curve.length) {
    container.textContent = text("plot_wait");
    return;
  }
  const peers = (picture.peers ?? []).filter((peer) => peer.psnr);
  const pixels = view.width * view.height;
  const points = peers.map((peer) => ({ ...peer, bpp: (8 * peer.bytes) / pixels }));
  const scales = scalesFor([...curve, ...points, ...picture.history, ...(now ? [now] : [])]);
  const { x, y } = scales;
  const label = text("plot_label", { bpp: format.bpp(view.bpp), psnr: now ? format.psnr(now.psnr) : "–" });
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  root.append(...axes(scales));
  for (const past of picture.history) root.append(mark(past, scales, "past"));
  if (curve.length) {
    const path = curve.map((point, place) => `${place ? "L" : "M"}${x.at(point.bpp)} ${y.at(point.psnr)}`).join("");
    root.append(svg("path", { class: "curve", d: path }));
    root.addEventListener("click", (event) => onQuality(qualityAt(curve, rateUnder(event, root, x))));
    root.classList.add("live");
  }
  for (const point of points) root.append(mark(point, scales, "peer"));
  root.append(...labels(points, scales));
  if (now) {
    const [cx, cy] = [x.at(now.bpp), y.at(now.psnr)];
    root.append(svg("circle", { class: "halo", cx, cy, r: 9 }), svg("circle", { class: "now", cx, cy, r: 5 }));
  }
  container.replaceChildren(root);
}

function scalesFor(points) {
  const rates = points.map((point) => point.bpp).filter(Number.isFinite);
  const values = points.map((point) => point.psnr).filter(Number.isFinite);
  const x = scale(Math.min(...rates, 0), Math.max(...rates) * 1.04, FRAME.left, WIDTH - FRAME.right);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = Math.max((high - low) * 0.06, 0.5);
  return { x, y: scale(low - room, high + room, HEIGHT - FRAME.bottom, FRAME.top) };
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  return {
    low,
    high,
    at: (value) => Number((from + ((value - low) / span) * (to - from)).toFixed(2)),
    back: (place) => low + ((place - from) / (to - from)) * span,
    ticks: ticks(low, high),
  };
}

/** Four to seven round numbers. */
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= rough * 0.8);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => Number(((first + place) * step).toFixed(6)));
}

function axes({ x, y }) {
  const [bottom, left] = [HEIGHT - FRAME.bottom, FRAME.left];
  const caption = (attributes, words) => svg("text", attributes, words);
  return [
    ...y.ticks.map((value) => svg("path", { class: "grid", d: `M${left} ${y.at(value)}H${WIDTH - FRAME.right}` })),
    ...y.ticks.map((value) => caption({ x: left - 6, y: y.at(value) + 4, class: "end" }, String(value))),
    ...x.ticks.map((value) => caption({ x: x.at(value), y: bottom + 15, class: "middle" }, String(value))),
    svg("path", { class: "axis", d: `M${left} ${bottom}H${WIDTH - FRAME.right}` }),
    caption({ x: WIDTH - FRAME.right, y: HEIGHT - 4, class: "end" }, text("plot_x")),
    caption({ x: left + 4, y: FRAME.top + 2 }, text("plot_y")),
  ];
}

function mark({ codec, bpp, psnr }, { x, y }, kind) {
  const d = SHAPES[codec] ?? SHAPES.jpeg;
  return svg("path", { class: `${kind} codec-${codec}`, d, transform: `translate(${x.at(bpp)} ${y.at(psnr)})` });
}

/** Names beside the peers' points, moved apart where they would cover each other. */
function labels(points, { x, y }) {
  const placed = points
    .map((point) => ({ words: point.label ?? point.codec, x: x.at(point.bpp), y: y.at(point.psnr) + 4 }))
    .sort((one, other) => one.y - other.y);
  placed.forEach((label, place) => {
    if (place) label.y = Math.max(label.y, placed[place - 1].y + 12);
  });
  const over = placed.length ? placed.at(-1).y - (HEIGHT - FRAME.bottom - 2) : 0;
  return placed.map((label) => {
    const right = label.x < WIDTH - 80;
    const shift = Math.max(over, 0);
    return svg(
      "text",
      { x: label.x + (right ? 10 : -10), y: label.y - shift, class: right ? "name" : "name end" },
      label.words,
    );
  });
}

const rateUnder = (event, root, x) => {
  const frame = root.getBoundingClientRect();
  return x.back(((event.clientX - frame.left) / frame.width) * WIDTH);
};

/** The quality, between the curve's points, that costs so many bits per pixel. */
function qualityAt(curve, bpp) {
  const next = curve.findIndex((point) => point.bpp >= bpp);
  if (next === 0) return curve[0].quality;
  if (next < 0) return curve.at(-1).quality;
  const [low, high] = [curve[next - 1], curve[next]];
  const part = (bpp - low.bpp) / (high.bpp - low.bpp || 1);
  return Math.round(low.quality + part * (high.quality - low.quality));
}
