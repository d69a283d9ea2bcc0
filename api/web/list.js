// The list of experiments: filtered, paged, and kept up to date while something runs.

import { json } from "./api.js";
import { announce, byId, el, fill, setText } from "./dom.js";
import { count, duration, moment, stateBadge, TERMINAL } from "./format.js";
import { attempt, start } from "./shell.js";

const PAGE_SIZE = 25;
const BUSY_MS = 2000;
const QUIET_MS = 15_000;
const address = new URLSearchParams(location.search);
const rows = new Map();
const chosen = new Set();

async function load() {
  const query = new URLSearchParams({ page_size: PAGE_SIZE });
  for (const name of ["state", "page_token"]) if (address.get(name)) query.set(name, address.get(name));
  const page = await json(`experiments?${query}`);
  show(page.items);
  showPaging(page.next_page_token);
  return page.items.some((item) => !TERMINAL.has(item.state));
}

function show(items) {
  const kept = items.map((item) => {
    const row = rows.get(item.id) || newRow(item);
    rows.set(item.id, row);
    row.update(item);
    return row.node;
  });
  const body = byId("rows");
  const unchanged = kept.length === body.children.length && kept.every((node, i) => node === body.children[i]);
  if (!unchanged) fill(body, ...kept); // moving a row would take the focus out of it
  byId("empty").hidden = items.length > 0;
  byId("listing").hidden = items.length === 0;
  if (items.length === 0) setText(byId("empty-text"), emptyText());
}

function emptyText() {
  if (address.get("state")) return `No experiment is ${address.get("state")}.`;
  return "No experiment yet. Start one from a preset: it takes a click.";
}

function newRow(item) {
  const box = el("input", { type: "checkbox", "aria-label": `Choose ${item.name} to compare` });
  box.addEventListener("change", () => choose(item.id, box.checked));
  const state = el("td", { class: "state" });
  const bar = el("progress", { max: 1, value: 0, "aria-label": `Progress of ${item.name}` });
  const label = el("span", { class: "num hint" });
  const link = el("a", { href: `experiment?id=${item.id}`, text: item.name });
  const node = el(
    "tr", {},
    el("td", { class: "pick" }, box), el("th", { scope: "row", class: "name" }, link),
    el("td", { class: "dataset", text: item.spec.dataset.kind }), state,
    el("td", { class: "progress" }, bar, label), el("td", { class: "created" }, moment(item.created_at)),
  );
  let shownState = "";
  const update = (now) => {
    if (now.state !== shownState) {
      if (shownState) announce(`${now.name} is ${now.state}`);
      fill(state, stateBadge(now.state));
      shownState = now.state;
    }
    const { epochs_done: done, epochs_total: total, eta_s: left } = now.progress;
    bar.value = total ? done / total : 0;
    setText(label, left === null ? `${count(done)} / ${count(total)} epochs` : `${duration(left)} left`);
  };
  return { node, update };
}

function filterBy(state) {
  address.delete("page_token");
  if (state) address.set("state", state);
  else address.delete("state");
  history.replaceState(null, "", `./?${address}`);
  return attempt(load);
}

function choose(id, isChosen) {
  if (isChosen) chosen.add(id);
  else chosen.delete(id);
  const compare = byId("compare");
  compare.disabled = chosen.size !== 2;
  setText(byId("chosen"), chosen.size === 0 ? "Choose two to compare" : `${chosen.size} of 2 chosen`);
}

function compareChosen() {
  const [a, b] = chosen;
  location.assign(`compare?a=${a}&b=${b}`);
}

function showPaging(token) {
  const older = new URLSearchParams(address);
  older.set("page_token", token || "");
  const newest = new URLSearchParams(address);
  newest.delete("page_token");
  const links = [
    address.get("page_token") ? el("a", { href: `./?${newest}`, text: "« Newest" }) : null,
    token ? el("a", { href: `./?${older}`, rel: "next", text: "Older »" }) : null,
  ];
  const key = `${address} ${token}`;
  const place = byId("paging");
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  fill(place, ...links);
  place.hidden = !links.some(Boolean);
}

async function refresh() {
  let isBusy = true;
  if (!document.hidden) await attempt(async () => (isBusy = await load()));
  setTimeout(refresh, isBusy ? BUSY_MS : QUIET_MS);
}

start(async () => {
  const filter = byId("state");
  filter.value = address.get("state") || "";
  filter.addEventListener("change", () => filterBy(filter.value));
  byId("compare").addEventListener("click", compareChosen);
  const isBusy = await load();
  setTimeout(refresh, isBusy ? BUSY_MS : QUIET_MS);
});
