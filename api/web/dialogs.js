// Questions that want an answer before something is lost.

import { el } from "./dom.js";

/**
 * Ask whether to go on.
 * @param {string} question
 * @param {string} verb what the button says
 * @returns {Promise<boolean>}
 */
export function confirmed(question, verb) {
  const keep = el("button", { type: "button", text: "Keep", autofocus: true });
  const go = el("button", { type: "button", class: "danger", text: verb });
  const dialog = el("dialog", { "aria-label": question }, el("p", { text: question }), el("div", { class: "row" }, go, keep));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answer) => {
    let isConfirmed = false;
    go.addEventListener("click", () => {
      isConfirmed = true;
      dialog.close();
    });
    keep.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(isConfirmed);
    });
  });
}
