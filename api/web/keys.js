// The API key: asked for when the service wants one, kept for this tab only, and never part of an address.

import { byId, el } from "./dom.js";

const PLACE = "actrobust-key";
let asking = null;

/** @returns {string} the key of this tab, or nothing */
export function currentKey() {
  return sessionStorage.getItem(PLACE) || "";
}

/** Forget the key. */
export function forgetKey() {
  sessionStorage.removeItem(PLACE);
  showSignOut();
}

/** Offer to sign out as long as there is a key. */
export function showSignOut() {
  byId("sign-out").hidden = !currentKey();
}

/**
 * Ask the person for a key; whoever asks meanwhile waits for the same answer.
 * @param {string} complaint what the service said of the last one
 * @returns {Promise<boolean>} whether there is a key now
 */
export function askForKey(complaint) {
  asking ??= ask(complaint).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(complaint) {
  const input = el("input", {
    id: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false",
    "aria-describedby": "key-hint key-problem",
  });
  const problem = el("p", { id: "key-problem", class: "fault", role: "alert", text: complaint });
  const later = el("button", { type: "button", class: "quiet", text: "Not now" });
  const form = el(
    "form", {},
    el("h2", { id: "key-title", text: "This service asks for an API key" }),
    el("label", { for: "key", text: "API key" }), input,
    el("p", { id: "key-hint", class: "hint", text: "It stays in this tab until you close it or sign out. A key comes from: actrobust keys create" }),
    problem,
    el("div", { class: "row" }, el("button", { type: "submit", class: "primary", text: "Continue" }), later),
  );
  const dialog = el("dialog", { "aria-labelledby": "key-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answer) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = input.value.trim();
      if (!/^[!-~]+$/.test(key)) {
        problem.textContent = "A key is one word of plain letters, digits and signs.";
        return;
      }
      sessionStorage.setItem(PLACE, key);
      dialog.close();
    });
    later.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      showSignOut();
      answer(Boolean(currentKey()));
    });
  });
}
