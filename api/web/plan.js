// What an experiment would cost.

import { json } from "./api.js";
import { byId, el, fill } from "./dom.js";
import { bytes, count, duration, flops } from "./format.js";

/** How fast the last finished experiments of each data set and architecture were trained. */
let paces = null;

/** Show a plan; the time is judged by what was trained here before. */
export async function showPlan(plan, signal) {
  const time = el("dd", { text: "…" });
  fill(
    byId("plan"),
    ...entry("Runs", count(plan.runs)), ...entry("Jobs", count(plan.jobs)), ...entry("Epochs", count(plan.epochs_total)),
    ...entry("Training", flops(plan.estimated_training_flops)), ...entry("Memory", `${bytes(plan.estimated_memory_bytes)} a process`),
    el("dt", { text: "Time" }), time,
  );
  const warnings = plan.warnings.map((text) => el("li", { text }));
  fill(byId("warnings"), ...warnings);
  byId("warnings").hidden = warnings.length === 0;
  paces ??= await findPaces(signal);
  const pace = paces.get(kindOf(plan.spec)) || paces.get("");
  const similar = paces.has(kindOf(plan.spec)) ? "as fast as the last similar one" : "by another kind of experiment";
  fill(time, ...(pace ? [`about ${duration(plan.estimated_training_flops / pace)}`, el("span", { class: "hint", text: ` ${similar}` })] : [el("span", { class: "hint", text: "nothing was trained here yet" })]));
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

async function findPaces(signal) {
  const found = new Map();
  const { items } = await json("experiments?state=succeeded&page_size=5", { signal });
  for (const { spec, started_at: from, finished_at: to } of items) {
    if (found.has(kindOf(spec))) continue;
    const plan = await json("experiments?validate_only=true", { method: "POST", document: spec, signal }).catch(() => null);
    const seconds = (new Date(to) - new Date(from)) / 1000;
    if (!plan || !(seconds > 0)) continue;
    found.set(kindOf(spec), plan.estimated_training_flops / seconds);
    if (!found.has("")) found.set("", plan.estimated_training_flops / seconds);
  }
  return found;
}
