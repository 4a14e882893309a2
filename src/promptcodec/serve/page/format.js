// Numbers for people.

/** 12345 → "12.3 kB". */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1000) return `${count} B`;
  const [unit, size] = count < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  return `${(count / size).toFixed(count / size < 100 ? 1 : 0)} ${unit}`;
}

export const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
export const bpp = (value) => fixed(value, 3);
export const psnr = (value) => fixed(value, 2);
export const msSsim = (value) => fixed(value, 4);
export const ssimulacra2 = (value) => fixed(value, 1);

/** 0.0623 → "0.06 s", 75 → "1 min 15 s". */
export function seconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** How much smaller a file is than another: "93 %". */
export function saved(now, before) {
  if (!now || !before) return "–";
  const part = 100 * (1 - now / before);
  return `${part > 99 || part < -1000 ? part.toFixed(1) : Math.round(part)} %`;
}

/** A number as a person would type it: no trailing zeros. */
export const plain = (value, digits = 4) => String(Number(Number(value).toFixed(digits)));
