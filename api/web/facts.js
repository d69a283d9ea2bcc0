// The resolved spec and where the numbers came from.

import { byId, el, fill } from "./dom.js";

/** A document as pairs of JSON pointer and value. */
export function leaves(value, pointer = "") {
  if (typeof value !== "object" || value === null) return [[pointer || "/", value]];
  if (Array.isArray(value) && value.every((each) => typeof each !== "object")) return [[pointer, value.join(", ")]];
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner, `${pointer}/${name}`));
}

/** Show the resolved spec. */
export function showSpec(spec) {
  byId("spec").textContent = JSON.stringify(spec, null, 2);
}

/** Show the provenance, with a list for each variant of `numerics`. */
export function showProvenance(experiment) {
  const { numerics, ...service } = experiment.provenance;
  const lists = [service, ...numerics].map((part) => {
    const entries = leaves(part).flatMap(([pointer, value]) => [el("dt", { text: pointer.slice(1) }), el("dd", { text: value === null || value === "" ? "–" : String(value) })]);
    return el("dl", { class: "facts" }, ...entries);
  });
  fill(byId("provenance"), ...lists);
}
