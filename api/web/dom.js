// Everything on the pages is made here, as nodes and texts: what a server or a person wrote is never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. `class`, `text` and `on<event>` mean what they say; true sets an empty attribute; false, null and
 * undefined leave it out.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/**
 * Make an SVG element, as `el` does.
 * @returns {SVGElement}
 */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Find the one element with an id; a missing one is a fault of ours. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element '${id}'`);
  return found;
}

/** Replace what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Set a text only when it differs, so that screen readers and the layout have rest. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Say something to people who listen instead of looking; the page has one polite live region. */
export function announce(text) {
  setText(byId("announcer"), text);
}

/**
 * A table with a caption, in a box that scrolls by itself where the screen is narrow.
 * @param {string} caption
 * @param {{text: string, class?: string, title?: string}[]} columns
 * @param {HTMLElement[]} rows
 */
export function table(caption, columns, rows) {
  const heads = columns.map((column) => el("th", { scope: "col", ...column }));
  const body = el("tbody", {}, ...rows);
  const made = el("table", {}, el("caption", { text: caption }), el("thead", {}, el("tr", {}, ...heads)), body);
  return el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, made);
}

/** A button that is out of order while what it started is under way. */
export function actionButton(text, action, properties = {}) {
  const button = el("button", { type: "button", text, ...properties });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await action();
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
