// One experiment: its progress as it happens, its results, its spec, and what can be done with it.

import { ApiError, download, json, request, ROOT, save } from "./api.js";
import { Comparison } from "./comparison.js";
import { LiveCurves } from "./curves.js";
import { confirmed } from "./dialogs.js";
import { actionButton, announce, byId, el, fill, setText } from "./dom.js";
import { follow } from "./events.js";
import { count, counted, duration, moment, stateBadge, TERMINAL } from "./format.js";
import { showProvenance, showSpec } from "./facts.js";
import { attempt, idFromAddress, start } from "./shell.js";

const REFRESH_MS = 1000;
const MOST_EPOCHS_TO_RELOAD = 50_000;
const id = idFromAddress();
let experiment = null;
let live = null;
let comparison = null;
let following = null;
let told = { state: "", tenth: -1, reused: 0 };

async function refresh() {
  experiment = await json(`experiments/${id}`);
  showState();
  return TERMINAL.has(experiment.state);
}

function showState() {
  const { name, state, spec, progress, error } = experiment;
  document.title = `${name} · actrobust`;
  setText(byId("name"), name);
  if (told.state !== state) {
    if (told.state) announce(`The experiment is ${state}`);
    fill(byId("state"), stateBadge(state));
    byId("actions").dataset.state = state;
    showActions();
  }
  told.state = state;
  const corruption = `${spec.corruption.kind} dirt`;
  setText(byId("what"), [spec.dataset.kind, spec.architecture.kind, corruption, counted(spec.activations.length, "activation"), seedsOf(spec), counted(spec.training.epochs, "epoch")].join(" · "));
  byId("failure").hidden = !error;
  setText(byId("failure"), error ? `It failed: ${error}` : "");
  showProgress(progress);
  showTimes();
}

function seedsOf({ num_seeds: seeds, until }) {
  return until ? `${count(seeds)} of at most ${counted(until.max_seeds, "seed")}` : counted(seeds, "seed");
}

function showProgress({ epochs_done: done, epochs_total: total, runs_finished: finished, runs_total: runs, runs_failed: failed, runs_reused: reused, eta_s: left }) {
  const share = total ? done / total : 0;
  byId("bar").value = share;
  const parts = [`${Math.floor(100 * share)} %`, `${count(finished)} of ${counted(runs, "run")}`, `${count(done)} of ${counted(total, "epoch")}`];
  if (reused) parts.push(`${count(reused)} trained before`);
  if (failed) parts.push(`${count(failed)} failed`);
  if (left !== null) parts.push(`${duration(left)} left`);
  setText(byId("progress-text"), parts.join(" · "));
  const tenth = Math.floor(share * 4);
  if (told.tenth >= 0 && tenth > told.tenth && !TERMINAL.has(experiment.state)) announce(`${Math.floor(100 * share)} percent trained`);
  told.tenth = tenth;
}

function showTimes() {
  const { created_at: created, started_at: started, finished_at: finished } = experiment;
  const took = started && finished ? duration((new Date(finished) - new Date(started)) / 1000) : null;
  fill(
    byId("times"), "created ", moment(created), started ? [" · started ", moment(started)] : null,
    finished ? [" · finished ", moment(finished)] : null, took ? ` · took ${took}` : null,
  );
}

function showActions() {
  const { state } = experiment;
  const isOver = TERMINAL.has(state);
  const post = (verb) => () => attempt(async () => {
    await json(`experiments/${id}/${verb}`, { method: "POST" });
    await refresh();
    followOn();
  });
  fill(
    byId("actions"),
    state === "queued" || state === "running" ? actionButton("Cancel", post("cancel")) : null,
    state === "failed" || state === "cancelled" ? actionButton("Resume", post("resume"), { class: "primary" }) : null,
    el("a", { class: "button", href: `new?clone=${id}`, text: "Clone" }),
    el("a", { class: "button", href: `compare?a=${id}`, text: "Compare" }),
    isOver ? actionButton("Delete", remove, { class: "danger" }) : null,
  );
}

async function remove() {
  const question = `Delete “${experiment.name}” with everything that was measured? This cannot be undone.`;
  if (!(await confirmed(question, "Delete"))) return;
  await attempt(async () => {
    await request(`experiments/${id}`, { method: "DELETE" });
    location.assign("./");
  });
}

/** All per-epoch rows, page by page. */
async function allRows(onPage) {
  let token = "";
  do {
    const page = await json(`experiments/${id}/metrics?page_size=10000${token ? `&page_token=${encodeURIComponent(token)}` : ""}`);
    await onPage(page.items);
    token = page.next_page_token;
  } while (token);
}

/** Events tell of what is trained here: the curves of runs that were taken over are read. */
async function addReused() {
  const { runs_reused: reused, epochs_done: done } = experiment.progress;
  if (reused <= told.reused || done > MOST_EPOCHS_TO_RELOAD) return;
  told.reused = reused;
  await allRows(async (items) => live.add(items));
}

function showDownloads() {
  const file = (text, action) => actionButton(text, () => attempt(action));
  fill(
    byId("downloads"),
    file("Every epoch, CSV", () => download(`experiments/${id}/metrics?format=csv`, `metrics-${id}.csv`)),
    file("Every epoch, Parquet", () => download(`experiments/${id}/metrics?format=parquet`, `metrics-${id}.parquet`)),
    file("Every epoch, JSON", async () => {
      const pages = [];
      await allRows(async (items) => pages.push(items.map((item) => JSON.stringify(item)).join(",\n")));
      save(new Blob(["[", pages.filter(Boolean).join(",\n"), "]\n"], { type: "application/json" }), `metrics-${id}.json`);
    }),
    file("Comparison, JSON", () => download(`experiments/${id}/robustness?include=curves&include=pairs&include=raw`, `robustness-${id}.json`)),
  );
}

/** Follow what happens from now on, until it is over. */
async function followOn() {
  following?.abort();
  if (TERMINAL.has(experiment.state)) return showResults();
  following = new AbortController();
  const { signal } = following;
  let timer = 0;
  const refreshSoon = () => (timer ||= setTimeout(() => ((timer = 0), attempt(refresh)), REFRESH_MS));
  let rows = [];
  const flush = () => (live.add(rows), (rows = []));
  byId("partial").hidden = false;
  attempt(addReused);
  const work = follow(id, {
    signal,
    onEvent: (kind, data) => {
      if (kind === "run.epoch" && rows.push(data) === 1) setTimeout(flush, 100);
      if (kind === "experiment.state") clearTimeout(timer), (timer = 0), attempt(async () => (await refresh(), await addReused()));
      else refreshSoon();
    },
    onPoll: async () => {
      const isOver = await refresh();
      if (experiment.progress.epochs_done <= MOST_EPOCHS_TO_RELOAD) await allRows(async (items) => live.add(items));
      return isOver;
    },
    onConnection: (isUp) => setText(byId("live-note"), isUp ? "" : "The connection broke; trying again …"),
  });
  await attempt(() => work);
  clearTimeout(timer);
  flush();
  if (signal.aborted) return;
  await attempt(refresh);
  await showResults();
}

async function showResults() {
  byId("partial").hidden = true;
  if (experiment.progress.epochs_done === 0) return;
  comparison ??= new Comparison(experiment);
  showSpec(experiment.spec); // with a precision target it has more seeds by now
  showProvenance(experiment);
  await attempt(() => comparison.load());
}

start(async () => {
  if (!id) throw new ApiError(404, { detail: "the address names no experiment" });
  await refresh();
  byId("experiment").hidden = false;
  showSpec(experiment.spec);
  showProvenance(experiment);
  showDownloads();
  byId("api-link").href = new URL(`experiments/${id}`, ROOT);
  byId("show-partial").addEventListener("click", () => {
    comparison ??= new Comparison(experiment);
    attempt(() => comparison.load());
  });
  live = new LiveCurves(experiment.spec);
  if (!TERMINAL.has(experiment.state) && experiment.progress.epochs_done && experiment.progress.epochs_done <= MOST_EPOCHS_TO_RELOAD) {
    await allRows(async (items) => live.add(items));
  }
  followOn();
});
