// The command line and the Python call that do what is on the screen.

import { plain } from "./format.js";

const OPTIONS = { size: "target-size", bpp: "target-bpp", psnr: "target-psnr", ssimulacra2: "target-ssimulacra2", ms_ssim: "target-ms-ssim" };

/** A word of a POSIX shell. */
const shell = (word) => (/^[\w./:,+@%-]+$/.test(word) && !word.startsWith("-") ? word : `'${word.replaceAll("'", "'\\''")}'`);
const python = (value) => JSON.stringify(value);

/** The region in pixels of the picture itself: "x,y,w,h", a mask's file name, or null. */
function region(picture) {
  if (!picture.region || picture.region.empty || !picture.facts.controls?.roi) return null;
  const area = picture.region.rectangle;
  if (!area || picture.region.strength < 1) return `${picture.stem}-mask.png`;
  const factor = picture.facts.width / picture.facts.view_width;
  return area.map((value) => Math.round(value * factor)).join(",");
}

export function command(picture, defaultModel) {
  const { settings, name } = picture;
  if (picture.coded) {
    const look = settings.look ? ` --look ${plain(settings.look)}` : "";
    return `promptcodec decode ${shell(name)}${look} -o ${shell(`${picture.stem}.png`)}`;
  }
  const words = ["promptcodec", "encode", shell(name), ...rate(settings).map(([key, value]) => `--${OPTIONS[key] ?? key} ${value}`)];
  if (settings.look) words.push(`--look ${plain(settings.look)}`);
  const roi = region(picture);
  if (roi) words.push(`--roi ${shell(roi)}`);
  if (settings.effort) words.push(`--effort ${settings.effort}`);
  if (settings.model && settings.model !== defaultModel) words.push(`--model ${shell(settings.model)}`);
  return words.join(" ");
}

export function pythonCall(picture, defaultModel) {
  const { settings, name } = picture;
  if (picture.coded) {
    const look = settings.look ? `, look=${plain(settings.look)}` : "";
    return `import promptcodec\n\nimage = promptcodec.decode(${python(name)}${look})`;
  }
  const given = rate(settings).map(([key, value]) => `${(OPTIONS[key] ?? key).replaceAll("-", "_")}=${value}`);
  if (settings.look) given.push(`look=${plain(settings.look)}`);
  const roi = region(picture);
  if (roi) given.push(`roi=${python(roi)}`);
  if (settings.effort) given.push(`effort=${settings.effort}`);
  if (settings.model && settings.model !== defaultModel) given.push(`model=${python(settings.model)}`);
  return `import promptcodec\n\ndata = promptcodec.encode(${[python(name), ...given].join(", ")})`;
}

function rate({ rate, quality, targetKind, targetValue }) {
  if (rate === "quality") return [["quality", plain(quality)]];
  return [[targetKind, targetKind === "size" ? String(Math.round(targetValue * 1000)) : plain(targetValue)]];
}
