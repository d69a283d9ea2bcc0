// The five pictures of a comparison. The service makes their definitions; the page draws them and offers them as files.

import { download, json } from "./api.js";
import { actionButton, el, fill } from "./dom.js";
import { fixed, percent } from "./format.js";
import { attempt } from "./shell.js";
import { darkness, draw, fitted } from "./vegaview.js";

export const VIEWS = {
  degradation: "Degradation by epoch",
  forest: "Degradation at the end, with verdicts",
  curves: "Learning curves, clean and dirty",
  sweep: "Degradation by rate of dirt",
  pairs: "Who loses more than whom",
};
const FORMATS = { png: "PNG", svg: "SVG", "vega-lite": "Vega-Lite" };
const SUFFIXES = { png: "png", svg: "svg", "vega-lite": "vl.json" };

/** One picture with its title, its text alternative and its downloads. */
export class Chart {
  /**
   * @param {string} experimentId
   * @param {keyof VIEWS} view
   */
  constructor(experimentId, view) {
    this.experimentId = experimentId;
    this.view = view;
    this.spec = null;
    this.drawn = null;
    this.width = 0;
    this.query = new URLSearchParams();
    this.place = el("div", { class: "chart", role: "img", "aria-label": `${VIEWS[view]}: being drawn`, "aria-busy": "true" });
    this.note = el("p", { class: "hint", hidden: true });
    const downloads = Object.entries(FORMATS).map(([format, name]) => this.downloadButton(format, name));
    this.node = el(
      "figure", { class: `view-${view}`, "data-view": view },
      el("figcaption", {}, el("h3", { text: VIEWS[view] }), el("span", { class: "row" }, ...downloads)), this.place, this.note,
    );
    darkness.addEventListener("change", () => this.redraw());
    new ResizeObserver(() => this.place.clientWidth !== this.width && this.redraw()).observe(this.place);
  }

  downloadButton(format, name) {
    const save = () => attempt(() => download(this.path(format), `${this.view}-${this.experimentId}.${SUFFIXES[format]}`));
    return actionButton(name, save, { class: "quiet small", "aria-label": `Download the chart “${VIEWS[this.view]}” as ${name}` });
  }

  path(format) {
    const query = new URLSearchParams(this.query);
    query.set("view", this.view);
    query.set("format", format);
    return `experiments/${this.experimentId}/robustness/chart?${query}`;
  }

  /**
   * Ask the service for the picture and draw it.
   * @param {URLSearchParams} query metric, score, rate
   * @param {string} inWords what the picture shows
   */
  async load(query, inWords, signal) {
    this.query = query;
    this.place.setAttribute("aria-busy", "true");
    try {
      this.spec = await json(this.path("vega-lite"), { signal });
      this.place.setAttribute("aria-label", `${VIEWS[this.view]}. ${inWords}`);
      this.note.hidden = true;
      await this.redraw();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.spec = null;
      fill(this.place);
      this.note.hidden = false;
      this.note.textContent = error.errors?.[0]?.detail || error.message;
    }
    this.place.removeAttribute("aria-busy");
  }

  async redraw() {
    if (!this.spec || !this.place.clientWidth) return;
    this.width = this.place.clientWidth;
    this.drawn?.finalize();
    this.drawn = await draw(this.place, fitted(this.spec, this.width));
  }
}

/** What the pictures of a comparison say, in a sentence or two for those who do not see them. */
export function inWords(comparison, rate) {
  const harms = comparison.activations
    .map((each) => ({ label: each.activation, harm: each.conditions.find((one) => one.rate === rate)?.degradation.mean }))
    .filter((each) => Number.isFinite(each.harm))
    .sort((a, b) => a.harm - b.harm);
  if (!harms.length) return "Nothing is complete yet.";
  const told = (each) => `${each.label} (${fixed(each.harm, 4, true)})`;
  return `With ${percent(rate)} of the rows dirty, ${told(harms[0])} loses least and ${told(harms.at(-1))} most. The tables have all numbers.`;
}
