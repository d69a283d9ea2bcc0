// Learning curves that grow while the networks train: means over seeds, so that hundreds of runs stay a few lines.

import { byId, el, fill, setText, table } from "./dom.js";
import { number, percent } from "./format.js";
import { coloursOf, darkness, draw } from "./vegaview.js";

const METRICS = { val_loss: "validation loss", train_loss: "training loss", val_accuracy: "validation accuracy", train_accuracy: "training accuracy" };
const NAMES = Object.keys(METRICS);
const REDRAW_MS = 500;
const MOST_ROWS = 500_000;

/** What the seeds of one activation at one rate measured after one epoch, added up. */
class Cell {
  constructor(activation, rate, epoch) {
    Object.assign(this, { activation, rate, epoch, sums: {}, counts: {} });
  }

  count(row, times) {
    for (const name of NAMES) {
      if (!Number.isFinite(row[name])) continue;
      this.sums[name] = (this.sums[name] || 0) + times * row[name];
      this.counts[name] = (this.counts[name] || 0) + times;
    }
  }
}

/** Means of what was measured, by activation, rate and epoch. */
export class Means {
  constructor() {
    this.rows = new Map();
    this.cells = new Map();
  }

  /**
   * Add one epoch of one run. After a lost worker an epoch is told again: the later one counts.
   * @returns {boolean} whether it says anything new
   */
  add(row) {
    const key = `${row.run_id} ${row.epoch}`;
    const earlier = this.rows.get(key);
    if (earlier ? NAMES.every((name) => earlier[name] === row[name]) : this.rows.size >= MOST_ROWS) return false;
    this.rows.set(key, row);
    const cell = this.cellOf(row);
    if (earlier) cell.count(earlier, -1);
    cell.count(row, 1);
    return true;
  }

  cellOf({ activation, rate, epoch }) {
    const place = `${rate} ${epoch} ${activation}`;
    if (!this.cells.has(place)) this.cells.set(place, new Cell(activation, rate, epoch));
    return this.cells.get(place);
  }

  /** The means of one metric. */
  points(metric) {
    const points = [];
    for (const { activation, rate, epoch, sums, counts } of this.cells.values()) {
      if (counts[metric]) points.push({ activation, rate, epoch, mean: sums[metric] / counts[metric] });
    }
    return points;
  }
}

function conditionOf(rate) {
  return rate === 0 ? "clean" : `${percent(rate)} dirty`;
}

/** The section with the growing curves. */
export class LiveCurves {
  /** @param {any} spec the experiment's */
  constructor(spec) {
    this.means = new Means();
    this.labels = spec.activations.map((each) => each.label || each.kind);
    this.rates = [0, ...spec.corruption.rates];
    this.epochs = spec.training.epochs;
    this.view = null;
    this.drawing = null;
    this.timer = 0;
    this.isStale = true;
    const choices = Object.entries(METRICS).filter(([name]) => spec.training.loss === "cross_entropy" || !name.endsWith("accuracy"));
    this.select = byId("live-metric");
    fill(this.select, ...choices.map(([value, text]) => el("option", { value, text })));
    this.select.addEventListener("change", () => this.restart());
    darkness.addEventListener("change", () => this.restart());
    byId("live-details").addEventListener("toggle", () => this.tabulate());
  }

  /** Take what was measured; the picture follows, twice a second at most. */
  add(rows) {
    const news = rows.filter((row) => this.means.add(row)).length;
    if (!news) return;
    byId("live").hidden = false;
    this.isStale = true;
    this.timer ||= setTimeout(() => requestAnimationFrame(() => this.redraw()), this.view ? REDRAW_MS : 0);
  }

  restart() {
    this.view?.finalize();
    this.view = null;
    this.isStale = true;
    return this.redraw();
  }

  async redraw() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.drawing || !this.means.cells.size) return;
    this.isStale = false;
    this.drawing = this.paint().catch((error) => setText(byId("live-note"), `The curves cannot be drawn: ${error.message}`));
    await this.drawing;
    this.drawing = null;
    if (this.isStale) this.timer ||= setTimeout(() => requestAnimationFrame(() => this.redraw()), REDRAW_MS);
  }

  async paint() {
    const points = this.means.points(this.select.value);
    if (this.view) {
      await this.view.data("points", points).resize().runAsync(); // longer numbers want wider axes
    } else {
      const place = byId("live-chart");
      this.view = await draw(place, this.definition(place.clientWidth, points));
    }
    byId("live-chart").setAttribute("aria-label", this.inWords(points));
    this.tabulate();
  }

  /** A panel for each rate. Not Vega-Lite's facets: theirs come and go with the data, and the layout with them. */
  definition(width, points) {
    const columns = Math.max(1, Math.min(this.rates.length, Math.floor(width / 320), 4));
    const panel = Math.max(160, Math.min(560, Math.floor((width - 20) / columns) - 70));
    return {
      data: { name: "points", values: points }, columns,
      concat: this.rates.map((rate) => this.panel(rate, panel)),
      resolve: { scale: { y: "shared", color: "shared" } },
      config: {
        axis: { grid: false, labelFontSize: 11, titleFontSize: 11 },
        legend: { labelFontSize: 11, orient: "bottom", symbolStrokeWidth: 2, columns: Math.max(2, Math.floor(width / 120)) },
      },
    };
  }

  panel(rate, width) {
    const scale = { domain: this.labels, range: coloursOf(this.labels) };
    return {
      title: { text: conditionOf(rate), fontSize: 12 }, width, height: 200,
      transform: [{ filter: { field: "rate", equal: rate } }],
      mark: { type: "line", strokeWidth: 1.5 },
      encoding: {
        x: {
          field: "epoch", type: "quantitative", title: "epoch", axis: { tickMinStep: 1, tickCount: 6 },
          scale: { domain: [1, Math.max(2, this.epochs)], nice: false },
        },
        y: { field: "mean", type: "quantitative", title: METRICS[this.select.value], scale: { zero: false } },
        color: { field: "activation", type: "nominal", scale, legend: { title: null } },
      },
    };
  }

  inWords(points) {
    const last = points.reduce((most, point) => Math.max(most, point.epoch), 0);
    return `Learning curves, ${METRICS[this.select.value]} by epoch up to epoch ${last}, one line for each of ${this.labels.length} activations; the table below has the latest means`;
  }

  /** The latest means as a table, for whoever opens it. */
  tabulate() {
    if (!byId("live-details").open) return;
    const latest = new Map();
    for (const point of this.means.points(this.select.value)) {
      const key = `${point.activation} ${point.rate}`;
      if (!latest.has(key) || latest.get(key).epoch < point.epoch) latest.set(key, point);
    }
    const rows = this.labels.map((label) => {
      const cells = this.rates.map((rate) => {
        const point = latest.get(`${label} ${rate}`);
        return el("td", { class: "num", text: point ? `${number(point.mean, 4)} (epoch ${point.epoch})` : "–" });
      });
      return el("tr", {}, el("th", { scope: "row", text: label }), ...cells);
    });
    const columns = [{ text: "Activation" }, ...this.rates.map((rate) => ({ text: conditionOf(rate), class: "num" }))];
    fill(byId("live-table"), table(`Latest mean ${METRICS[this.select.value]}`, columns, rows));
  }
}
