// The form for a spec: sections of fields, made from the catalog, that show the draft and edit it.

import { el, fill } from "./dom.js";
import { control, controlsOf } from "./controls.js";
import { ActivationsEditor } from "./activations.js";
import { valueAt } from "./draft.js";

const WHOLE = { type: "integer" };
const REAL = { type: "number" };
const FAMILIES = {
  "/dataset": "datasets", "/corruption": "corruptions", "/architecture": "architectures",
  "/training/optimizer": "optimizers", "/training/schedule": "schedules",
};

/** The whole form. */
export class SpecForm {
  /**
   * @param {any} catalog
   * @param {(pointer: string, value: any) => void} onEdit
   */
  constructor(catalog, onEdit) {
    this.catalog = catalog;
    this.onEdit = onEdit;
    this.fixed = [];
    /** Of each choice the kind that its fields were made for, and those fields. */
    this.choices = new Map();
    this.activations = new ActivationsEditor(catalog.activations, onEdit);
    this.node = el("div", { class: "sections" }, ...this.sections());
  }

  sections() {
    const engine = ["auto", "serial", "stacked", "compiled"];
    return [
      section("Experiment", this.group(
        this.add("/name", { type: "string" }),
        this.add("/num_seeds", WHOLE, { label: "Seeds", hint: "trials of every network; five or more for a verdict" }),
        this.add("/base_seed", WHOLE, { label: "Base seed" }),
        this.add("/until/ci_half_width", REAL, { label: "Precision target", hint: "add seeds, five at a time, until no interval reaches further to either side" }),
        this.add("/until/max_seeds", WHOLE, { label: "Seeds at most", hint: "alone it asks for half the margin as precision; leave both empty for a fixed number of seeds" }),
      )),
      section("Data", this.choice("/dataset", "Data set")),
      section("Dirt", this.choice("/corruption", "Kind")),
      section("Network", this.choice("/architecture", "Architecture")),
      section("Activations", this.activations.node),
      section("Training",
        this.group(
          this.add("/training/epochs", WHOLE), this.add("/training/batch_size", WHOLE),
          this.add("/training/loss", {}, { choices: this.catalog.losses.map(({ kind, title }) => ({ value: kind, text: kind, title })) }),
        ),
        this.choice("/training/optimizer", "Optimiser"), this.choice("/training/schedule", "Schedule"),
        this.group(
          this.add("/training/precision", { enum: ["float32", "float64", "bfloat16"] }),
          this.add("/training/device", { enum: ["auto", "cpu", "cuda"] }), this.add("/training/engine", { enum: engine }),
        )),
      section("Comparison", this.group(
        this.add("/metric", {}, { choices: ["loss", "accuracy"].map((value) => ({ value, text: value })) }),
        this.add("/score", { type: "string" }, { hint: "final, best, last5 or epoch:N" }),
        this.add("/margin/loss", REAL, { label: "Margin of the loss", hint: "the harm too small to matter; declare it for a firm verdict" }),
        this.add("/margin/accuracy", REAL, { label: "Margin of the accuracy" }),
      )),
    ];
  }

  add(pointer, schema, options) {
    const made = control(pointer, schema, this.onEdit, options);
    this.fixed.push(made);
    return made;
  }

  group(...controls) {
    return el("div", { class: "fields" }, ...controls.map((each) => each.node));
  }

  kinds(family) {
    return this.catalog[family].map((entry) => ({ value: entry.kind, text: `${entry.title} (${entry.kind})` }));
  }

  choice(pointer, label) {
    const kind = control(`${pointer}/kind`, {}, this.onEdit, { label, choices: this.kinds(FAMILIES[pointer]) });
    const about = el("p", { class: "hint formula" });
    const fields = el("div", { class: "fields" });
    this.choices.set(pointer, { kind, about, fields, builtFor: null, controls: [] });
    return el("div", { class: "choice" }, el("div", { class: "fields" }, kind.node), about, fields);
  }

  /** Show a spec, whole or in part. */
  show(spec) {
    for (const each of this.fixed) each.show(valueAt(spec, each.pointer));
    for (const [pointer, choice] of this.choices) this.showChoice(pointer, choice, valueAt(spec, pointer));
    this.activations.show(spec.activations);
  }

  showChoice(pointer, choice, value) {
    const kind = value?.kind;
    choice.kind.show(kind);
    const entry = this.catalog[FAMILIES[pointer]].find((each) => each.kind === kind);
    if (choice.builtFor !== kind) {
      choice.builtFor = kind;
      choice.controls = entry ? controlsOf(pointer, entry.parameters, this.onEdit) : [];
      fill(choice.fields, ...choice.controls.map((each) => each.node));
      choice.about.textContent = entry?.formula || "";
    }
    const defaults = entry?.parameters.properties || {};
    for (const each of choice.controls) {
      const name = each.pointer.split("/").at(-1);
      each.show(value?.[name] ?? defaults[name]?.default);
    }
  }

  get controls() {
    const chosen = [...this.choices.values()].flatMap((choice) => [choice.kind, ...choice.controls]);
    return [...this.fixed, ...chosen, ...this.activations.controls, this.activations];
  }

  /**
   * Show each fault at the field that it is about, which is the one with the longest pointer above it.
   * @param {{pointer?: string, detail: string}[]} faults
   * @returns {{fault: {pointer?: string, detail: string}, control: any}[]} the field of each, if there is one
   */
  showFaults(faults) {
    const controls = this.controls;
    const places = faults.map((fault) => ({ fault, control: nearest(controls, fault.pointer || "") }));
    for (const each of controls) {
      each.fault(places.filter((place) => place.control === each).map((place) => place.fault.detail).join("; "));
    }
    return places;
  }
}

function nearest(controls, pointer) {
  const above = controls.filter((each) => `${pointer}/`.startsWith(`${each.pointer}/`) || each.pointer === `${pointer}/kind`);
  return above.sort((a, b) => b.pointer.length - a.pointer.length)[0] || null;
}

function section(title, ...content) {
  return el("fieldset", {}, el("legend", { text: title }), ...content);
}
