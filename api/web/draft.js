// The spec that is being written: the request as it would be posted, and what the service makes of it.

/** Where a spec holds an object that is chosen by its `kind`. */
export const CHOICES = ["/dataset", "/corruption", "/architecture", "/training/optimizer", "/training/schedule"];

/** The value at a JSON pointer (RFC 6901), or undefined. */
export function valueAt(document, pointer) {
  return stepsOf(pointer).reduce((here, step) => (here === null || here === undefined ? undefined : here[step]), document);
}

/** The steps of a JSON pointer. */
export function stepsOf(pointer) {
  return pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** Merge as the service does: RFC 7396, except that an object whose `kind` changes replaces the target's. */
export function merged(target, patch) {
  if (!isObject(patch)) return patch;
  const replaces = !isObject(target) || ("kind" in patch && patch.kind !== target.kind);
  const result = replaces ? {} : { ...target };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = isObject(value) ? merged(result[name], value) : value;
  }
  return result;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A request on its way to being posted. */
export class Draft {
  /** @param {Record<string, any>} request */
  constructor(request) {
    this.request = request;
    /** What the request's preset or data set resolves to by itself. */
    this.base = {};
    /** What the service resolved the request to; null while it is wrong or not yet checked. */
    this.resolved = null;
  }

  /** Start again from another request. */
  replace(request) {
    this.request = request;
    this.resolved = null;
  }

  /** The request that this one stands on: its preset, or else its data set's defaults. */
  get foundation() {
    if (typeof this.request.preset === "string") return { preset: this.request.preset };
    const kind = valueAt(this.request, "/dataset/kind");
    return typeof kind === "string" ? { dataset: { kind } } : {};
  }

  /** The whole spec, as far as it is known. */
  get view() {
    if (this.resolved) return this.resolved;
    const { preset: _, ...overrides } = this.request;
    return merged(this.base, overrides);
  }

  /** Take another data set with all its defaults: dirt, network and loss of the last one would hardly fit. */
  restartFrom(datasetKind) {
    const { activations, num_seeds, base_seed } = this.request;
    const kept = Object.entries({ activations, num_seeds, base_seed }).filter(([, value]) => value !== undefined);
    this.replace({ dataset: { kind: datasetKind }, ...Object.fromEntries(kept) });
  }

  /** Write one value; undefined takes it out again, so that the default holds. */
  edit(pointer, value) {
    const choice = CHOICES.find((each) => pointer.startsWith(`${each}/`));
    const request = structuredClone(this.request);
    if (choice && pointer !== `${choice}/kind`) put(request, `${choice}/kind`, valueAt(this.view, `${choice}/kind`));
    if (choice && pointer === `${choice}/kind`) put(request, choice, { kind: value });
    else put(request, pointer, value);
    this.replace(request);
  }

  /** The request as text. */
  get text() {
    return JSON.stringify(this.request, null, 2);
  }
}

function put(document, pointer, value) {
  const steps = stepsOf(pointer);
  const last = steps.pop();
  const path = [document];
  for (const step of steps) {
    const here = path.at(-1);
    if (!isObject(here[step])) here[step] = {};
    path.push(here[step]);
  }
  if (value !== undefined) path.at(-1)[last] = value;
  else remove(path, [...steps, last]);
}

/** Take a value out, and the objects that are empty without it: an empty one may mean something, as `until` does. */
function remove(path, steps) {
  for (const step of [...steps].reverse()) {
    const here = path.pop();
    delete here[step];
    if (Object.keys(here).length) return;
  }
}
