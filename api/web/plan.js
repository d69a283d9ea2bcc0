// What an experiment would cost.

import { json } from "./api.js";
import { byId, el, fill } from "./dom.js";
import { bytes, count, duration, flops } from "./format.js";

/** How fast experiments of each data set and architecture were trained. */
const paces = new Map();

/** Show a plan; the time is judged by what was trained here before. */
export async function showPlan(plan, signal) {
  const time = el("dd", { text: "…" });
  const runs = [plan.runs_at_most ? `${count(plan.runs)}, at most ${count(plan.runs_at_most)}` : count(plan.runs)];
  if (plan.runs_reusable) runs.push(`${count(plan.runs_reusable)} trained before`);
  fill(
    byId("plan"),
    ...entry("Runs", runs.join("; ")), ...entry("Jobs", count(plan.jobs)), ...entry("Epochs", count(plan.epochs_total)),
    ...entry("Training", flops(plan.estimated_training_flops)), ...entry("Memory", `${bytes(plan.estimated_memory_bytes)} a process`),
    el("dt", { text: "Time" }), time,
  );
  const warnings = plan.warnings.map((text) => el("li", { text }));
  fill(byId("warnings"), ...warnings);
  byId("warnings").hidden = warnings.length === 0;
  const pace = await paceOf(plan.spec, signal);
  const hint = (text) => el("span", { class: "hint", text });
  const toTrain = plan.estimated_training_flops * (1 - plan.runs_reusable / plan.runs);
  if (!toTrain) fill(time, "none: all of it was trained before");
  else if (pace) fill(time, `about ${duration(toTrain / pace.flops_per_s)}`, hint(` at the pace of “${pace.name}”`));
  else fill(time, hint("unknown: nothing like it was trained here yet"));
}

/** There is no plan. */
export function forgetPlan(why) {
  fill(byId("plan"), ...entry("Plan", why));
  byId("warnings").hidden = true;
}

function entry(name, value) {
  return [el("dt", { text: name }), el("dd", { text: value })];
}

function kindOf(spec) {
  return `${spec.dataset.kind} ${spec.architecture.kind}`;
}

/** The pace of what was trained here before; the largest of its kind, since small ones are mostly preparation. */
async function paceOf(spec, signal) {
  const kind = kindOf(spec);
  if (!paces.has(kind)) paces.set(kind, await measured(kind, signal));
  return paces.get(kind);
}

async function measured(kind, signal) {
  const { items } = await json("experiments?state=succeeded&page_size=50", { signal });
  const size = (item) => item.progress.epochs_total * item.spec.dataset.train_size;
  // What took runs over was quicker than training is.
  const trained = items.filter((item) => kindOf(item.spec) === kind && !item.progress.runs_reused);
  const [largest] = trained.sort((a, b) => size(b) - size(a));
  if (!largest) return null;
  const seconds = (new Date(largest.finished_at) - new Date(largest.started_at)) / 1000;
  try {
    const plan = await json("experiments?validate_only=true", { method: "POST", document: largest.spec, signal });
    // With a precision target the plan is of the first seeds only.
    const flops = (plan.estimated_training_flops / plan.runs) * largest.progress.runs_total;
    return seconds > 0 ? { name: largest.name, flops_per_s: flops / seconds } : null;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null; // it was stored by a version whose specs this one does not take
  }
}
