// The activations of a spec: each with its formula, its parameters and, if wanted, a label.

import { el, fill } from "./dom.js";
import { control, controlsOf } from "./controls.js";

/** An editor for the list at `/activations`. */
export class ActivationsEditor {
  /**
   * @param {any[]} catalog the catalog's activations
   * @param {(pointer: string, value: any) => void} onEdit
   */
  constructor(catalog, onEdit) {
    this.catalog = new Map(catalog.map((entry) => [entry.kind, entry]));
    this.onEdit = onEdit;
    this.controls = [];
    this.shape = "";
    this.items = [];
    this.list = el("ol", { class: "activations" });
    this.fault_ = el("p", { class: "fault" });
    this.choice = el("select", { id: "add-activation" }, ...catalog.map((entry) => el("option", { value: entry.kind, text: `${entry.kind} (${entry.title})` })));
    const add = el("button", { type: "button", text: "Add", onclick: () => this.change([...this.items, { kind: this.choice.value }]) });
    const adding = el("div", { class: "row" }, el("label", { for: "add-activation", text: "Another activation" }), this.choice, add);
    this.node = el("div", {}, this.list, this.fault_, adding);
    this.pointer = "/activations";
  }

  /** Show what the spec holds. */
  show(activations) {
    this.items = (Array.isArray(activations) ? activations : []).map((each) => this.brief(each));
    const shape = this.items.map((item) => item.kind).join(" ");
    if (shape !== this.shape || this.items.length !== this.list.children.length) {
      this.shape = shape;
      this.rebuild();
    }
    this.items.forEach((item, index) => {
      const defaults = this.catalog.get(item.kind)?.parameters.properties || {};
      for (const each of this.controls.filter((one) => one.index === index)) {
        const name = each.pointer.split("/").at(-1);
        each.show(item[name] ?? defaults[name]?.default);
      }
    });
  }

  /** An activation without what is a default anyway. */
  brief(activation) {
    if (typeof activation === "string") return { kind: activation };
    const { kind, ...rest } = activation || {};
    const properties = this.catalog.get(kind)?.parameters.properties || {};
    const kept = Object.entries(rest).filter(([name, value]) => {
      if (value === null) return false;
      if (name === "label") return value !== kind && !String(value).startsWith(`${kind}(`);
      return value !== properties[name]?.default;
    });
    return { kind, ...Object.fromEntries(kept) };
  }

  rebuild() {
    this.controls = [];
    fill(this.list, ...this.items.map((item, index) => this.row(item, index)));
  }

  row(item, index) {
    const entry = this.catalog.get(item.kind);
    const base = `/activations/${index}`;
    const edit = (pointer, value) => this.editOne(index, pointer.split("/").at(-1), value);
    const parameters = entry ? controlsOf(base, entry.parameters, edit) : [];
    const label = control(`${base}/label`, { type: "string" }, edit, { label: "Label" });
    for (const each of [...parameters, label]) this.controls.push(Object.assign(each, { index }));
    const remove = el("button", {
      type: "button", class: "quiet", text: "Remove", "aria-label": `Remove ${item.kind}`, onclick: () => this.remove(index),
    });
    const head = el("div", { class: "head" }, el("strong", { text: item.kind }), el("code", { class: "formula", text: entry?.formula || "" }));
    return el("li", {}, head, el("div", { class: "fields" }, ...parameters.map((each) => each.node), label.node), remove);
  }

  editOne(index, name, value) {
    const items = structuredClone(this.items);
    if (value === undefined) delete items[index][name];
    else items[index][name] = value;
    this.change(items);
  }

  remove(index) {
    this.change(this.items.filter((_, each) => each !== index));
    const rest = this.list.querySelectorAll("button");
    (rest[Math.min(index, rest.length - 1)] || this.choice).focus();
  }

  change(items) {
    this.onEdit("/activations", items.map((item) => (Object.keys(item).length === 1 ? item.kind : item)));
  }

  fault(text) {
    this.fault_.textContent = text;
  }

  focus() {
    this.choice.focus();
  }
}
