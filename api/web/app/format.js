/** @file Numbers, sizes and times as people read them, in the language of the page. */

const language = "en";
const ordinary = new Intl.NumberFormat(language);
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const moment = new Intl.DateTimeFormat(language, {
  dateStyle: "medium",
  timeStyle: "short",
});
const UNITS = ["B", "KB", "MB", "GB", "TB"];
/** @type {[number, Intl.RelativeTimeFormatUnit][]} */
const SPANS = [
  [60, "second"],
  [60, "minute"],
  [24, "hour"],
  [7, "day"],
  [4.35, "week"],
  [12, "month"],
  [Infinity, "year"],
];

/** @param {number} value */
export const number = (value) => ordinary.format(value);

/**
 * @param {number} bytes
 * @returns {string} such as 1.4 GB
 */
export function bytes(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/**
 * @param {number} seconds
 * @returns {string} such as 8 s, 2 min 5 s, 1 h 20 min
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return [`${Math.floor(whole / 60)} min`, whole % 60 ? `${whole % 60} s` : ""].join(" ").trim();
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * @param {string} at RFC 3339
 * @returns {string} such as 3 minutes ago, in 2 days
 */
export function fromNow(at) {
  let value = (Date.parse(at) - Date.now()) / 1000;
  for (const [size, unit] of SPANS) {
    if (Math.abs(value) < size) return relative.format(Math.round(value), unit);
    value /= size;
  }
  return at;
}

/** @param {string} at RFC 3339 */
export const date = (at) => moment.format(new Date(at));
