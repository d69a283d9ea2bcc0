// What every page does first.

import { ApiError } from "./api.js";
import { byId, el, fill } from "./dom.js";
import { forgetKey, showSignOut } from "./keys.js";

/**
 * Start a page: its work, the sign-out button, and a place for what goes wrong.
 * @param {() => Promise<void>} work
 */
export async function start(work) {
  byId("sign-out").addEventListener("click", () => {
    forgetKey();
    location.reload();
  });
  showSignOut();
  await attempt(work);
  byId("main").removeAttribute("aria-busy");
}

/** Do something, and tell the person when it fails. @returns {Promise<boolean>} whether it worked */
export async function attempt(work) {
  try {
    await work();
    showProblem(null);
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    showProblem(error);
    if (!(error instanceof ApiError)) console.error(error);
    return false;
  }
}

/** Show an error at the top of the page, or take the last one away. */
export function showProblem(error) {
  const place = byId("problem");
  if (!error) {
    if (!place.hidden) {
      place.hidden = true;
      fill(place);
    }
    return;
  }
  place.hidden = false;
  const requestId = error.problem?.request_id;
  fill(
    place,
    el("strong", { text: titleOf(error) }),
    el("span", { text: ` ${sentence(error.message)}` }),
    requestId ? el("code", { text: requestId, title: "request id, also in the service's log" }) : null,
  );
}

function titleOf(error) {
  if (error.status === 401) return "A key is needed.";
  if (error.status === 404) return "Not found.";
  if (error.status === 0) return "No connection.";
  return error instanceof ApiError ? `Refused (${error.status}).` : "Something went wrong in this page.";
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** The id in the address, checked, since it becomes part of a path. */
export function idFromAddress(name = "id") {
  const id = new URLSearchParams(location.search).get(name) || "";
  return /^[0-9a-f-]{36}$/i.test(id) ? id : "";
}
