// Form fields made from JSON Schema. Each knows the JSON pointer of what it edits and shows what is wrong there.

import { el, setText } from "./dom.js";

let nextId = 0;
const SHORT = new Set(["lr", "sd", "df", "k"]);

/**
 * @typedef {object} Control
 * @property {HTMLElement} node
 * @property {string} pointer
 * @property {(value: any) => void} show what the spec holds; leaves a field alone while someone types in it
 * @property {(text: string) => void} fault what is wrong, or nothing
 * @property {() => void} focus
 */

/**
 * A field for one value of the spec.
 * @param {string} pointer
 * @param {Record<string, any>} schema
 * @param {(pointer: string, value: any) => void} onEdit
 * @param {{label?: string, hint?: string, choices?: {value: string, text: string}[]}} [options]
 * @returns {Control}
 */
export function control(pointer, schema, onEdit, options = {}) {
  const id = `field-${nextId++}`;
  const label = options.label || labelOf(pointer);
  const hint = options.hint || schema.description || "";
  const kind = kindOf(schema, options);
  const input = INPUTS[kind](schema, options);
  const described = [hint ? `${id}-hint` : null, `${id}-fault`].filter(Boolean).join(" ");
  input.node.id = id;
  input.node.setAttribute("aria-describedby", described);
  if (boundsOf(schema)) input.node.title = boundsOf(schema);
  input.node.addEventListener(kind === "check" || kind === "select" ? "change" : "input", () => onEdit(pointer, input.read()));
  const problem = el("span", { id: `${id}-fault`, class: "fault" });
  const node = el(
    "div", { class: `field field-${kind}` },
    el("label", { for: id, text: label }), input.node, hint ? el("span", { id: `${id}-hint`, class: "hint", text: hint }) : null, problem,
  );
  return {
    node, pointer,
    show: (value) => {
      if (document.activeElement !== input.node || kind === "check" || kind === "select") input.write(value);
    },
    fault: (text) => {
      setText(problem, text);
      if (text) input.node.setAttribute("aria-invalid", "true");
      else input.node.removeAttribute("aria-invalid");
    },
    focus: () => input.node.focus(),
  };
}

/** Fields for the parameters of a catalog entry, its kind and label excepted. */
export function controlsOf(base, parameters, onEdit) {
  return Object.entries(parameters.properties)
    .filter(([name, schema]) => name !== "kind" && name !== "label" && !("const" in schema))
    .map(([name, schema]) => control(`${base}/${name}`, schema, onEdit));
}

function labelOf(pointer) {
  const name = pointer.split("/").at(-1);
  if (SHORT.has(name)) return name;
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function kindOf(schema, options) {
  if (options.choices || schema.enum) return "select";
  if (schema.type === "boolean") return "check";
  if (schema.type === "array") return schema.items?.type === "array" ? "nested" : "list";
  return schema.type === "number" || schema.type === "integer" ? "number" : "text";
}

function boundsOf(schema) {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low === undefined && high === undefined) return "";
  return [low === undefined ? "" : `from ${low}`, high === undefined ? "" : `to ${high}`].join(" ").trim();
}

/** What was typed, as a number if it is one; else as it is, so that the service says what is wrong with it. */
function numeric(text) {
  const trimmed = text.trim();
  return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

function textInput(read, write, properties = {}) {
  const node = el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...properties });
  return {
    node,
    read: () => (node.value.trim() === "" ? undefined : read(node.value)),
    write: (value) => {
      const text = value === null || value === undefined ? "" : write(value);
      if (node.value !== text) node.value = text;
    },
  };
}

const asWords = (value) => (Array.isArray(value) ? value.join(", ") : String(value));

const INPUTS = {
  text: () => textInput((text) => text, String),
  number: () => textInput(numeric, String, { inputmode: "decimal" }),
  list: () => textInput((text) => text.split(",").map((part) => numeric(part)).filter((part) => part !== ""), asWords, { inputmode: "decimal" }),
  nested: () => textInput(parsed, (value) => JSON.stringify(value)),
  check: () => {
    const node = el("input", { type: "checkbox" });
    return { node, read: () => node.checked, write: (value) => (node.checked = Boolean(value)) };
  },
  select: (schema, options) => {
    const choices = options.choices || schema.enum.map((value) => ({ value, text: value }));
    const node = el("select", {}, ...choices.map((choice) => el("option", { value: choice.value, text: choice.text })));
    return {
      node,
      read: () => node.value || undefined,
      write: (value) => (node.value = value === null || value === undefined ? "" : String(value)),
    };
  },
};

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
