// What every module needs of the document: elements, texts, the live region.

import { strings } from "./strings.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** The string of a key, its {names} replaced. */
export function text(key, values = {}) {
  if (!(key in strings)) throw new Error(`no string named ${key}`);
  return strings[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Fill data-text, data-label and data-title of a part of the document. */
export function fillStrings(root) {
  for (const node of root.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  for (const node of root.querySelectorAll("[data-title]")) node.title = text(node.dataset.title);
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", text(node.dataset.label));
    if (node.matches("button")) node.title = text(node.dataset.label);
  }
}

/** An element with attributes (properties where the value is a function or boolean) and children. */
export function element(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function" || typeof value === "boolean") node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** The icon of a name in the sprite of index.html. */
export const icon = (name) => svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));

/** Show which of some buttons is pressed. */
export function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(chosen(button)));
}

let pending = 0;

/** Tell screen readers, once what changes has come to rest. */
export function announce(sentence, delay = 700) {
  clearTimeout(pending);
  pending = setTimeout(() => (byId("live").textContent = sentence), delay);
}

/** Hand a blob or an address to the browser as a download. */
export function save(source, name) {
  const address = source instanceof Blob ? URL.createObjectURL(source) : source;
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  if (source instanceof Blob) setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export const canvasBlob = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
