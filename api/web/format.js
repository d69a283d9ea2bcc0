// Numbers, times and states as people read them.

import { el } from "./dom.js";

const DATES = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const COUNTS = new Intl.NumberFormat("en");
export const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);
const NOTHING = "–";

/** A measured number to a few significant digits; a dash where there is none. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(digits - 1).replace("-", "−");
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }).replace("-", "−");
}

/** A number of fixed decimals, with its sign where `signed`. */
export function fixed(value, decimals = 4, signed = false) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  const text = Math.abs(value).toFixed(decimals);
  if (value < 0) return `−${text}`;
  return signed ? `+${text}` : text;
}

/** Mean ± SD of `{mean, sd}`. */
export function spread({ mean, sd }) {
  return sd === null || sd === undefined ? fixed(mean) : `${fixed(mean)} ± ${fixed(sd)}`;
}

/** `[low, high]` of `{ci_low, ci_high}`. */
export function interval({ ci_low: low, ci_high: high }) {
  return low === null || high === null ? NOTHING : `[${fixed(low)}, ${fixed(high)}]`;
}

/** A p value; very small ones are only said to be small. */
export function probability(p) {
  if (p === null || p === undefined) return NOTHING;
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

/** A share of 1 in percent. */
export function percent(share) {
  return `${Number((100 * share).toPrecision(3))} %`;
}

/** 12,345 */
export function count(value) {
  return COUNTS.format(value);
}

/** "1 run", "2 runs" */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A span of seconds in its two largest units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** 1.2 × 10¹² as "1.2 T" */
export function flops(value) {
  const names = ["", "k", "M", "G", "T", "P", "E"];
  const step = Math.min(names.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return `${Number((value / 1000 ** step).toPrecision(3))} ${names[step]}FLOP`;
}

/** Bytes as MB or GB. */
export function bytes(value) {
  return value < 1e9 ? `${Math.max(1, Math.round(value / 1e6))} MB` : `${(value / 1e9).toFixed(1)} GB`;
}

/** A moment in the person's own time zone. */
export function moment(text) {
  if (!text) return el("span", { text: NOTHING });
  return el("time", { datetime: text, title: text, text: DATES.format(new Date(text)) });
}

/** An experiment's or job's state. */
export function stateBadge(state) {
  return el("span", { class: `badge state-${state}`, text: state });
}

/** A verdict, with a question mark where the margin is nobody's declaration. */
export function verdictBadge(verdict, provisional = false) {
  if (!verdict) return el("span", { class: "badge", text: "not yet" });
  const shown = el("span", { class: `badge verdict-${verdict}`, text: verdict.replace("_", " ") });
  if (provisional && (verdict === "robust" || verdict === "inconclusive" || verdict === "harmed")) {
    shown.append("?");
    shown.title = "the margin is a default; declare yours as 'margin' in the spec";
  }
  return shown;
}
