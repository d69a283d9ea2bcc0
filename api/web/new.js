// A new experiment: a form and the request itself, kept in step, checked by the service while one types.

import { ApiError, json, ROOT } from "./api.js";
import { announce, byId, el, fill, setText } from "./dom.js";
import { Draft } from "./draft.js";
import { currentKey } from "./keys.js";
import { forgetPlan, showPlan } from "./plan.js";
import { attempt, idFromAddress, showProblem, start } from "./shell.js";
import { SpecForm } from "./specform.js";

const CHECK_AFTER_MS = 300;
const bases = new Map();
const draft = new Draft({});
let form = null;
let checking = null;
let timer = 0;
let submission = { text: "", key: "" };

async function firstRequest() {
  const clone = idFromAddress("clone");
  if (clone) {
    const experiment = await json(`experiments/${clone}`);
    const kept = Object.entries(experiment.spec).filter(([, value]) => value !== null);
    return { ...Object.fromEntries(kept), name: `${experiment.name}, again`.slice(0, 200) };
  }
  return { preset: new URLSearchParams(location.search).get("preset") || "harrison-multivariate" };
}

function showPresets(presets) {
  const select = byId("preset");
  fill(
    select, el("option", { value: "", text: "none: from the data set's defaults" }),
    ...presets.map((preset) => el("option", { value: preset.name, text: `${preset.title} (${preset.name})` })),
  );
  select.addEventListener("change", () => {
    draft.replace(select.value ? { preset: select.value } : { dataset: { kind: "fbm" } });
    changed();
  });
  return new Map(presets.map((preset) => [preset.name, preset]));
}

/** The draft has changed: show it everywhere but where the change came from, and have it checked soon. */
function changed({ fromText = false } = {}) {
  if (!fromText) byId("request").value = draft.text;
  setText(byId("request-fault"), "");
  form.show(draft.view);
  clearTimeout(timer);
  timer = setTimeout(check, CHECK_AFTER_MS);
}

function textChanged() {
  let request;
  try {
    request = JSON.parse(byId("request").value);
    if (typeof request !== "object" || request === null || Array.isArray(request)) throw new Error("it must be an object");
  } catch (error) {
    clearTimeout(timer);
    checking?.abort();
    setText(byId("request-fault"), `This is not JSON that can be posted: ${error.message}`);
    forgetPlan("fix the JSON");
    setBusy(false, false);
    return;
  }
  draft.replace(request);
  changed({ fromText: true });
}

async function check() {
  checking?.abort();
  checking = new AbortController();
  const { signal } = checking;
  setBusy(true, false);
  await attempt(async () => {
    await findBase(signal);
    try {
      const plan = await json("experiments?validate_only=true", { method: "POST", document: draft.text, signal });
      draft.resolved = plan.spec;
      showFaults([]);
      await showPlan(plan, signal);
      setBusy(false, true);
    } catch (error) {
      if (!(error instanceof ApiError) || !error.errors.length) throw error;
      showFaults(error.errors);
      forgetPlan(error.errors.length === 1 ? "1 thing to mend" : `${error.errors.length} things to mend`);
      setBusy(false, false);
    }
    form.show(draft.view);
    showPreset();
  });
}

/** What the request stands on, so that fields have values while the request itself is wrong. */
async function findBase(signal) {
  const text = JSON.stringify(draft.foundation);
  if (!bases.has(text)) {
    try {
      bases.set(text, (await json("experiments?validate_only=true", { method: "POST", document: text, signal })).spec);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 422) throw error;
      bases.set(text, {});
    }
  }
  draft.base = bases.get(text);
}

function showFaults(errors) {
  const places = form.showFaults(errors);
  const lines = places.map(({ fault, control }) => {
    const place = el("code", { text: fault.pointer || fault.parameter || "/" });
    const link = control ? el("button", { type: "button", class: "link", onclick: () => control.focus() }, place) : place;
    return el("li", {}, link, ` ${fault.detail}`);
  });
  fill(byId("faults"), ...lines);
  byId("faults").hidden = lines.length === 0;
}

function setBusy(isBusy, isValid) {
  byId("submit").disabled = isBusy || !isValid;
  byId("plan").setAttribute("aria-busy", String(isBusy));
}

let presets = new Map();
function showPreset() {
  const name = typeof draft.request.preset === "string" ? draft.request.preset : "";
  byId("preset").value = name;
  setText(byId("preset-about"), presets.get(name)?.description || "");
}

async function submit(event) {
  event.preventDefault();
  if (byId("submit").disabled) return;
  const text = draft.text;
  // The same request sent once more, after its answer was lost, must not start a second experiment.
  if (submission.text !== text) submission = { text, key: randomKey() };
  byId("submit").disabled = true;
  try {
    const headers = { "Idempotency-Key": submission.key };
    const experiment = await json("experiments", { method: "POST", document: text, headers });
    location.assign(`experiment?id=${experiment.id}`);
  } catch (error) {
    showProblem(error);
    if (error.errors?.length) showFaults(error.errors);
    byId("submit").disabled = false;
    byId("problem").focus();
  }
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function copyCurl() {
  const quoted = `'${JSON.stringify(draft.request).replaceAll("'", "'\\''")}'`;
  const key = currentKey() ? ' -H "Authorization: Bearer $ACTROBUST_API_KEY"' : "";
  const command = `curl -s '${new URL("experiments", ROOT)}'${key} --json ${quoted}`;
  try {
    await navigator.clipboard.writeText(command);
    announce("The command is in the clipboard");
    setText(byId("copied"), "Copied");
  } catch {
    const shown = byId("curl");
    shown.hidden = false;
    shown.value = command;
    shown.select();
  }
}

start(async () => {
  const [catalog, listed, request] = await Promise.all([json("catalog"), json("presets"), firstRequest()]);
  presets = showPresets(listed.items);
  form = new SpecForm(catalog, (pointer, value) => {
    if (pointer === "/dataset/kind") draft.restartFrom(value);
    else draft.edit(pointer, value);
    changed();
  });
  byId("form").append(form.node);
  byId("request").addEventListener("input", textChanged);
  byId("new").addEventListener("submit", submit);
  byId("copy").addEventListener("click", copyCurl);
  draft.replace(request);
  byId("request").value = draft.text;
  await check();
});
