// The comparison of an experiment's activations: ranking, pairs, and the pictures.

import { json } from "./api.js";
import { Chart, inWords, VIEWS } from "./charts.js";
import { byId, el, fill, setText, table } from "./dom.js";
import { fixed, interval, number, percent, probability, spread, verdictBadge } from "./format.js";
import { attempt } from "./shell.js";

/** The section with the results. */
export class Comparison {
  /** @param {any} experiment */
  constructor(experiment) {
    this.id = experiment.id;
    this.spec = experiment.spec;
    this.charts = Object.keys(VIEWS).map((view) => new Chart(this.id, view));
    this.loading = null;
    fill(byId("charts"), ...this.charts.map((chart) => chart.node));
    this.offerQuestions();
  }

  offerQuestions() {
    const { metric, score, corruption, training } = this.spec;
    const metrics = training.loss === "cross_entropy" ? ["accuracy", "loss"] : ["loss"];
    const scores = [...new Set([score, "final", "best", "last5"])];
    const rates = [...corruption.rates].sort((a, b) => b - a);
    options("metric", metrics.map((value) => ({ value, text: value })), metric);
    options("score", scores.map((value) => ({ value, text: value })), score);
    options("rate", rates.map((value) => ({ value, text: percent(value) })), rates[0]);
    for (const name of ["metric", "score", "rate"]) byId(name).addEventListener("change", () => attempt(() => this.load()));
  }

  get query() {
    const query = new URLSearchParams();
    if (byId("metric").value !== this.spec.metric) query.set("metric", byId("metric").value);
    if (byId("score").value !== this.spec.score) query.set("score", byId("score").value);
    return query;
  }

  /** Ask for the comparison, then for one picture after another: the service makes one at a time for each of us. */
  async load() {
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const query = this.query;
    const rate = Number(byId("rate").value);
    const wanted = new URLSearchParams([...query, ["rate", rate], ["include", "pairs"]]);
    const comparison = await json(`experiments/${this.id}/robustness?${wanted}`, { signal });
    showRanking(comparison, rate);
    showPairs(comparison, rate);
    byId("results").hidden = false;
    const words = inWords(comparison, rate);
    for (const chart of this.charts) {
      const own = new URLSearchParams(query);
      if (chart.view !== "sweep") own.set("rate", rate);
      await chart.load(own, words, signal);
    }
  }
}

function options(id, choices, selected) {
  const select = byId(id);
  fill(select, ...choices.map(({ value, text }) => el("option", { value, text, selected: value === selected })));
  select.closest(".field").hidden = choices.length < 2;
}

function showRanking(comparison, rate) {
  fill(byId("ranking"), rankingTable(comparison, rate));
  const { margin, metric, num_seeds: seeds } = comparison;
  const declared = margin.declared ? "declared in the spec" : "a default: declare yours for verdicts without “?”";
  const better = metric.better === "lower" ? "lower is better" : "higher is better";
  setText(
    byId("reading"),
    `Validation ${metric.name} (${metric.unit}, ${better}), score ${comparison.score}, ${seeds} seeds. Degradation is the harm that dirt did, paired by seed: positive is worse. ` +
      (margin.value === null ? "" : `Margin ${fixed(margin.value)}, ${declared}.`) +
      (comparison.complete ? "" : " Not complete: this is what has finished so far, without verdicts and ranks."),
  );
  setText(byId("precision"), comparison.precision ? precisionInWords(comparison.precision) : "");
  byId("precision").hidden = !comparison.precision;
  const remarks = [...comparison.warnings, ...comparison.diverged.map((run) => `${run.activation}, rate ${run.rate}, seed ${run.seed} diverged`)];
  fill(byId("remarks"), ...remarks.slice(0, 20).map((text) => el("li", { text })));
  byId("remarks").hidden = remarks.length === 0;
}

/** How near an experiment is to its precision target. */
export function precisionInWords({ half_width: width, target, reached, num_seeds: seeds, max_seeds: most }) {
  const parts = [width === null ? null : `half-width ${number(width)}`, target === null ? null : `target ${number(target)}`];
  parts.push(`${reached ? "reached" : "not reached"} at ${seeds} of at most ${most} seeds`);
  return `Precision: ${parts.filter(Boolean).join(", ")}.`;
}

/** The activations of a comparison at one rate, the most robust first. */
export function rankingTable(comparison, rate) {
  const columns = [
    { text: "Rank", class: "num", title: "by area under the degradation over all rates; in brackets the places where it may stand" },
    { text: "Activation" }, { text: "Verdict" }, { text: "Degradation", class: "num" }, { text: `${percent(comparison.confidence)} interval`, class: "num" },
    { text: "p", class: "num", title: "two-sided sign-flip test, unadjusted" }, { text: "Clean", class: "num" }, { text: "Dirty", class: "num" },
  ];
  const rows = ranked(comparison).map((entry) => {
    const condition = entry.conditions.find((each) => each.rate === rate);
    return el(
      "tr", {},
      el("td", { class: "num" }, ...rankOf(entry)), el("th", { scope: "row", text: entry.activation }),
      el("td", {}, verdictBadge(condition?.verdict, condition?.provisional)),
      el("td", { class: "num strong", text: fixed(condition?.degradation.mean, 4, true) }),
      el("td", { class: "num", text: condition ? interval(condition.degradation) : "–" }),
      el("td", { class: "num", text: probability(condition?.degradation.p_value) }),
      el("td", { class: "num", text: spread(entry.clean) }), el("td", { class: "num", text: condition ? spread(condition.dirty) : "–" }),
    );
  });
  return table(`Ranking with ${percent(rate)} of the training rows dirty`, columns, rows);
}

/** Activations by rank. */
export function ranked(comparison) {
  return [...comparison.activations].sort((a, b) => (a.rank ?? 1e9) - (b.rank ?? 1e9));
}

/** A rank with the places between which it may lie. */
export function rankOf(entry) {
  if (entry.rank === null) return ["–"];
  if (entry.rank_low === entry.rank_high) return [String(entry.rank)];
  return [`${entry.rank} `, el("span", { class: "hint", text: `(${entry.rank_low}–${entry.rank_high})` })];
}

function showPairs(comparison, rate) {
  const pairs = (comparison.pairs || []).filter((pair) => pair.of === "degradation" && pair.rate === rate);
  pairs.sort((a, b) => (a.p_adjusted ?? 2) - (b.p_adjusted ?? 2));
  const limit = 1 - comparison.confidence;
  const significant = pairs.filter((pair) => pair.p_adjusted !== null && pair.p_adjusted <= limit).length;
  setText(byId("pairs-summary"), `Pairs: ${significant} of ${pairs.length} differ after adjustment for all of them`);
  const columns = [
    { text: "a" }, { text: "b" }, { text: "a − b", class: "num", title: "difference of the degradations; below 0 a loses less" },
    { text: "Interval", class: "num" }, { text: "p adjusted", class: "num" }, { text: "P(a loses less)", class: "num" },
  ];
  const rows = pairs.map((pair) => el(
    "tr", { class: pair.p_adjusted !== null && pair.p_adjusted <= limit ? "significant" : null },
    el("th", { scope: "row", text: pair.a }), el("td", { text: pair.b }),
    el("td", { class: "num", text: fixed(pair.difference, 4, true) }), el("td", { class: "num", text: interval(pair) }),
    el("td", { class: "num", text: probability(pair.p_adjusted) }), el("td", { class: "num", text: fixed(pair.probability_a_lower.value, 2) }),
  ));
  fill(byId("pairs"), table(`Differences of the degradations, ${percent(rate)} of the rows dirty`, columns, rows));
}
