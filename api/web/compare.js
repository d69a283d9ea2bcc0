// Two experiments side by side: results, pictures, and what their specs do not share.

import { json } from "./api.js";
import { Chart, inWords } from "./charts.js";
import { ranked, rankOf } from "./comparison.js";
import { byId, el, fill, setText, table } from "./dom.js";
import { fixed, interval, percent, stateBadge, verdictBadge } from "./format.js";
import { leaves } from "./facts.js";
import { attempt, idFromAddress, start } from "./shell.js";

const SIDES = ["a", "b"];

async function offerChoices() {
  const { items } = await json("experiments?page_size=100");
  for (const side of SIDES) {
    const select = byId(`choose-${side}`);
    const chosen = idFromAddress(side);
    const isListed = items.some((item) => item.id === chosen);
    const options = items.map((item) => el("option", { value: item.id, text: `${item.name} (${item.state}, ${item.created_at.slice(0, 10)})` }));
    fill(select, el("option", { value: "", text: "choose an experiment" }), chosen && !isListed ? el("option", { value: chosen, text: chosen }) : null, ...options);
    select.value = chosen;
  }
}

function followChoice(event) {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const side of SIDES) if (byId(`choose-${side}`).value) query.set(side, byId(`choose-${side}`).value);
  location.assign(`compare?${query}`);
}

/** One side: the experiment and its comparison at its largest rate of dirt. */
async function sideOf(id) {
  const experiment = await json(`experiments/${id}`);
  const comparison = await json(`experiments/${id}/robustness`);
  return { experiment, comparison, rate: Math.max(...experiment.spec.corruption.rates) };
}

function showSide(name, { experiment, comparison, rate }) {
  fill(
    byId(`side-${name}`),
    el("h2", {}, el("span", { class: "side", text: name }), el("a", { href: `experiment?id=${experiment.id}`, text: experiment.name }), stateBadge(experiment.state)),
    el("p", { class: "hint", text: `${experiment.spec.dataset.kind} · ${percent(rate)} dirty · ${comparison.metric.name} (${comparison.metric.unit}), score ${comparison.score} · ${comparison.num_seeds} seeds · margin ${fixed(comparison.margin.value)}${comparison.margin.declared ? "" : " (default)"}${comparison.complete ? "" : " · not complete"}` }),
  );
}

function showRankings(sides) {
  const labels = [...new Set(sides.flatMap(({ comparison }) => ranked(comparison).map((entry) => entry.activation)))];
  const rows = labels.map((label) => el("tr", {}, el("th", { scope: "row", text: label }), ...sides.flatMap((side) => cellsOf(side, label))));
  const made = table("Rankings and verdicts, each at its largest rate of dirt", [], rows);
  fill(made.querySelector("thead"), ...heads());
  fill(byId("rankings"), made);
}

function heads() {
  const group = (name) => el("th", { scope: "colgroup", colspan: 4, class: "from" }, el("span", { class: "side", text: name }));
  const names = ["Rank", "Verdict", "Degradation", "Interval"];
  const cells = SIDES.flatMap(() => names.map((text) => el("th", { scope: "col", text, class: text === "Rank" ? "num from" : text === "Verdict" ? null : "num" })));
  return [el("tr", {}, el("th", { scope: "col", rowspan: 2, text: "Activation" }), ...SIDES.map(group)), el("tr", {}, ...cells)];
}

function cellsOf({ comparison, rate }, label) {
  const entry = comparison.activations.find((each) => each.activation === label);
  const condition = entry?.conditions.find((each) => each.rate === rate);
  if (!condition) return [el("td", { class: "num from", text: "–" }), el("td", { text: "" }), el("td", { text: "" }), el("td", { text: "" })];
  return [
    el("td", { class: "num from" }, ...rankOf(entry)),
    el("td", {}, verdictBadge(condition.verdict, condition.provisional)),
    el("td", { class: "num strong", text: fixed(condition.degradation.mean, 4, true) }),
    el("td", { class: "num", text: interval(condition.degradation) }),
  ];
}

function showDifferences([a, b]) {
  const [left, right] = [a, b].map(({ experiment }) => new Map(leaves(experiment.spec)));
  const pointers = [...new Set([...left.keys(), ...right.keys()])].filter((pointer) => pointer !== "/name" && left.get(pointer) !== right.get(pointer));
  setText(byId("same"), pointers.length ? "" : "The two specs differ in nothing but their names.");
  const cell = (value) => el("td", {}, value === undefined ? el("span", { class: "hint", text: "absent" }) : el("code", { text: String(value) }));
  const rows = pointers.map((pointer) => el("tr", {}, el("th", { scope: "row" }, el("code", { text: pointer })), cell(left.get(pointer)), cell(right.get(pointer))));
  fill(byId("differences"), pointers.length ? table("Fields of the spec that differ", [{ text: "Field" }, { text: "a" }, { text: "b" }], rows) : null);
}

async function showCharts(sides) {
  const charts = sides.map(({ experiment }) => new Chart(experiment.id, "degradation"));
  fill(byId("charts"), ...charts.map((chart, i) => el("div", {}, el("p", { class: "hint" }, el("span", { class: "side", text: SIDES[i] }), sides[i].experiment.name), chart.node)));
  for (const [i, { comparison, rate }] of sides.entries()) {
    await charts[i].load(new URLSearchParams(), inWords(comparison, rate), null);
  }
}

start(async () => {
  byId("choose").addEventListener("submit", followChoice);
  await offerChoices();
  const ids = SIDES.map((side) => idFromAddress(side));
  if (ids.some((id) => !id)) return;
  const sides = [await sideOf(ids[0]), await sideOf(ids[1])];
  byId("compared").hidden = false;
  document.title = `${sides[0].experiment.name} and ${sides[1].experiment.name} · actrobust`;
  SIDES.forEach((name, i) => showSide(name, sides[i]));
  showRankings(sides);
  showDifferences(sides);
  attempt(() => showCharts(sides));
});
