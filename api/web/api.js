// The one way to the service: paths below its root, the API key in a header, errors as problem documents.

import { askForKey, currentKey, forgetKey } from "./keys.js";
import { el } from "./dom.js";

/** Where the API is: these files lie at `ui/assets/VERSION/` below it. */
export const ROOT = new URL("../../../", import.meta.url);

/** What the service refused, with its problem document (RFC 9457). */
export class ApiError extends Error {
  /**
   * @param {number} status 0 where nothing was answered
   * @param {Record<string, any>} problem
   */
  constructor(status, problem) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.status = status;
    this.problem = problem;
    /** @type {{pointer?: string, parameter?: string, detail: string}[]} */
    this.errors = problem.errors || [];
  }
}

/**
 * Ask the service. Where it wants a key, the person is asked for one and the request is sent again.
 * @param {string} path below the root, without a leading slash
 * @param {RequestInit & {document?: any}} [options] `document` is sent as JSON
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  for (;;) {
    const key = currentKey();
    const response = await send(path, options, key);
    if (response.ok || response.status === 304) return response;
    const problem = await readProblem(response);
    if (response.status !== 401) throw new ApiError(response.status, problem);
    if (key === currentKey()) forgetKey();
    if (!(await askForKey(key ? problem.detail : ""))) throw new ApiError(401, problem);
  }
}

async function send(path, { document: sent, headers = {}, ...options }, key) {
  const all = { ...headers };
  if (key) all.Authorization = `Bearer ${key}`;
  if (sent !== undefined) {
    all["Content-Type"] = "application/json";
    options.body = typeof sent === "string" ? sent : JSON.stringify(sent);
  }
  try {
    return await fetch(new URL(path, ROOT), { ...options, headers: all, cache: "no-cache", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: "the service does not answer" });
  }
}

async function readProblem(response) {
  try {
    return await response.json();
  } catch {
    return { detail: `the service answered ${response.status}` };
  }
}

/** Ask for JSON. @returns {Promise<any>} */
export async function json(path, options) {
  return (await request(path, options)).json();
}

/** Fetch a file, with the key in the header where a plain link could not have it, and save it. */
export async function download(path, filename) {
  const response = await request(path);
  save(await response.blob(), filename);
}

/** Hand a blob to the person as a file. */
export function save(blob, filename) {
  const address = URL.createObjectURL(blob);
  const link = el("a", { href: address, download: filename, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
