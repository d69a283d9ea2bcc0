// Drawing Vega-Lite without `eval`: expressions are interpreted, so that the page's policy can forbid code from text.

import { el, fill } from "./dom.js";

/** The colours of Okabe and Ito and the activations that always have the same one, as in the service's pictures. */
export const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#222222", "#8C8C00"];
export const STUDY = ["relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign"];
const INK = "#222222";
const INK_IN_THE_DARK = "#dddddd";

let library = null;

/** Load the library, once. */
export function vegaLibrary() {
  library ??= import("./vega.js").then((bundle) => {
    // vega-embed clears its place with `innerHTML = ""`; any other markup from a string stays forbidden.
    window.trustedTypes?.createPolicy("default", { createHTML: (text) => (text === "" ? "" : null) });
    return bundle.vegaEmbed;
  });
  return library;
}

/** Whether the person wants it dark. */
export const darkness = matchMedia("(prefers-color-scheme: dark)");

/** A colour for each label, no two alike as long as the palette lasts. */
export function coloursOf(labels) {
  const taken = new Set(labels.filter((label) => STUDY.includes(label)).map((label) => STUDY.indexOf(label)));
  const free = Array.from({ length: labels.length + STUDY.length }, (_, place) => place).filter((place) => !taken.has(place));
  const places = labels.map((label) => (STUDY.includes(label) ? STUDY.indexOf(label) : free.shift()));
  return places.map((place) => PALETTE[place % PALETTE.length]);
}

/**
 * Draw a Vega-Lite definition into an element, in the page's colours.
 * @param {HTMLElement} place
 * @param {any} spec
 * @returns {Promise<any>} the Vega view
 */
export async function draw(place, spec) {
  const embed = await vegaLibrary();
  const coloured = { ...inTheseColours(spec), config: themed(spec.config || {}) };
  // Vega names its own place, which hides the name that ours has.
  const inner = el("div", { "aria-hidden": "true" });
  fill(place, inner);
  const { view } = await embed(inner, coloured, {
    mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: false, hover: false, logLevel: 1,
  });
  return view;
}

/** Ink that would vanish on a dark page becomes light. */
function inTheseColours(spec) {
  if (!darkness.matches) return spec;
  return JSON.parse(JSON.stringify(spec).replaceAll(`"${INK}"`, `"${INK_IN_THE_DARK}"`));
}

function themed(config) {
  const style = getComputedStyle(document.documentElement);
  const [ink, muted, line] = ["--ink", "--muted", "--line-strong"].map((name) => style.getPropertyValue(name).trim());
  const font = "system-ui, sans-serif";
  return {
    ...config, background: "transparent", font, aria: false,
    view: { ...config.view, stroke: null },
    axis: { ...config.axis, labelColor: muted, titleColor: muted, domainColor: line, tickColor: line, titleFontWeight: "normal", labelOverlap: true, labelSeparation: 4 },
    legend: { ...config.legend, labelColor: ink, titleColor: muted },
    header: { labelColor: ink, titleColor: muted, labelFontSize: 11 },
    title: { ...config.title, color: ink, fontWeight: 500 },
    text: { ...config.text, color: ink },
  };
}

/** Fit a definition of the service's into a width: it was made for paper. */
export function fitted(spec, width) {
  if (spec.facet) return withColumns(spec, width);
  const legend = usesLegend(spec);
  const beside = legend && width >= 560;
  const inner = Math.max(180, Math.min(640, width - 70 - (beside ? 110 : 0)));
  const isSquare = spec.width === spec.height;
  const side = Math.min(inner - 60, Math.max(spec.width, 220));
  const sized = isSquare ? { width: side, height: side } : { width: inner, height: spec.height };
  const below = legend && !beside ? { legend: { ...spec.config.legend, orient: "bottom", columns: Math.max(2, Math.floor(width / 110)), direction: "horizontal" } } : {};
  return { ...spec, ...sized, title: wrapped(spec.title, width), config: { ...spec.config, ...below } };
}

function withColumns(spec, width) {
  const columns = Math.max(1, Math.min(4, Math.floor((width + 10) / 180)));
  const panel = Math.max(90, Math.floor((width - 60) / columns) - 22);
  return { ...spec, columns, title: wrapped(spec.title, width), spec: { ...spec.spec, width: panel }, config: { ...spec.config, legend: { ...spec.config?.legend, orient: "top" } } };
}

function usesLegend(spec) {
  return JSON.stringify(spec.layer || spec.encoding || {}).includes('"legend":{');
}

/** A title in lines that fit. */
function wrapped(title, width) {
  const text = typeof title === "object" && !Array.isArray(title) ? title.text : title;
  const most = Math.max(24, Math.floor(width / 6.4));
  return [text].flat().filter(Boolean).flatMap((line) => linesOf(line, most));
}

function linesOf(text, most) {
  const lines = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length + 1 <= most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
