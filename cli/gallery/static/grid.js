// The grid: flipping through results, more of it, what changes, keys.

import { ask, repeat, say, tellTimes } from "./shared.js";

const grid = document.querySelector("[data-grid]");
const pill = document.querySelector("[data-pill]");
const empty = document.querySelector("[data-empty]");
const search = document.querySelector("[data-search]");
const filters = document.querySelector("[data-filters]");
const banner = document.querySelector("[data-banner]");
const uploads = document.querySelector("[data-upload]");
const zip = document.querySelector("[data-zip]");
const main = document.querySelector("#main");

const cardOf = (id) => grid.querySelector(`[data-card="${CSS.escape(id)}"]`);

// --- results ----------------------------------------------------------------------------------

function flip(pane, number) {
  const images = [...pane.querySelectorAll("img")];
  if (images.length < 2) return;
  const place = ((number % images.length) + images.length) % images.length;
  images.forEach((image, index) => {
    const on = index === place;
    if (on && image.dataset.src) {
      image.src = image.dataset.src;
      delete image.dataset.src;
    }
    image.hidden = !on;
    image.classList.toggle("on", on);
    pane.querySelector(".dots").children[index].classList.toggle("on", on);
  });
}

function place(pane) {
  return [...pane.querySelectorAll("img")].findIndex((image) => image.classList.contains("on"));
}

// The link of the whole card lies above its panes: where the pointer is, is asked of the panes.
grid.addEventListener("pointermove", (event) => {
  if (event.pointerType === "touch") return;
  const card = event.target.closest?.("[data-card]");
  const pane = card?.querySelector("[data-flip]");
  if (!pane) return;
  const box = pane.getBoundingClientRect();
  const share = (event.clientX - box.left) / box.width;
  if (share < 0 || share >= 1 || event.clientY > box.bottom) return;
  flip(pane, Math.floor(share * pane.querySelectorAll("img").length));
});

grid.addEventListener("click", (event) => {
  const button = event.target.closest("[data-next]");
  if (!button) return;
  const pane = button.closest("[data-flip]");
  flip(pane, place(pane) + 1);
});

// --- more -------------------------------------------------------------------------------------

let loading = false;

async function more(link) {
  if (loading) return;
  loading = true;
  const row = link.parentElement;
  link.textContent = grid.querySelector("[data-card]") ? "More…" : "Looking further…";
  try {
    const url = new URL(link.href);
    url.searchParams.set("part", "1");
    const answer = await ask(url);
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    for (const card of holder.content.querySelectorAll("[data-card]")) {
      // A job that changed meanwhile moved to the front: it is there already.
      if (cardOf(card.dataset.card)) card.remove();
    }
    tellTimes(holder.content);
    row.replaceWith(holder.content);
  } catch (error) {
    link.textContent = "Try again";
    say(error.message);
  } finally {
    loading = false;
  }
  watchMore();
}

let refreshes = 0;
/** The ids of the new photos of the last answer. */
let came = [];
/** New photos that the grid was loaded with, as far as they are behind its "More". */
const behind = new Set();
/** Until then, new photos are taken for those that the person has just added. */
let ownUntil = 0;
const OWN_TIME = 60_000;

document.addEventListener("catwalk:added", () => { ownUntil = Date.now() + OWN_TIME; });

/** Loads the newest photos into the grid. The rest of the page stays, as an upload or a selection. */
export async function refresh() {
  const mine = ++refreshes;
  const known = came;
  const url = new URL(location.href);
  url.searchParams.set("part", "1");
  const holder = document.createElement("template");
  holder.innerHTML = await (await ask(url)).text();
  // A later answer is in the grid already, or comes.
  if (mine !== refreshes) return;
  tellTimes(holder.content);
  const focused = document.activeElement;
  const left = [grid, empty, pill].some((part) => part.contains(focused));
  const id = focused.closest("[data-card]")?.dataset.card;
  grid.replaceChildren(holder.content);
  pill.hidden = true;
  if (grid.querySelector("[data-more]")) for (const each of known) behind.add(each);
  if (left) (cardOf(id)?.querySelector(".open") ?? main).focus({ preventScroll: true });
  watchMore();
}

/** What stands around the grid depends on what is in it. */
function around() {
  empty.hidden = Boolean(grid.querySelector("[data-card], [data-more]"));
  document.querySelector("[data-select-all]").hidden = !grid.querySelector("[data-card]");
  if (!empty.hidden) zip.hidden = true;
  else if (grid.querySelector(".after img")) zip.hidden = false;
}

new MutationObserver(around).observe(grid, { childList: true });

// The sheet may have been opened from what an empty page shows, which is gone.
uploads.addEventListener("close", () => {
  const focused = document.activeElement;
  if (focused === document.body || uploads.contains(focused)) main.focus({ preventScroll: true });
});

const nearEnd = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) more(entry.target);
}, { rootMargin: "900px" });

function watchMore() {
  nearEnd.disconnect();
  const link = grid.querySelector("[data-more]");
  if (link && link.textContent !== "Try again") nearEnd.observe(link);
}

grid.addEventListener("click", (event) => {
  const link = event.target.closest("[data-more]");
  if (!link || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  more(link);
});

// --- what changes -----------------------------------------------------------------------------

function inSight(card) {
  const box = card.getBoundingClientRect();
  return box.bottom > -400 && box.top < innerHeight + 400;
}

function running() {
  return [...grid.querySelectorAll("[data-card][data-running]")].filter(inSight).slice(0, 60);
}

async function look() {
  const url = new URL(grid.dataset.live, location.href);
  for (const card of running()) {
    url.searchParams.append("card", `${card.dataset.card}.${card.dataset.version}`);
  }
  const news = await (await ask(url)).json();
  for (const [id, html] of Object.entries(news.cards)) {
    const old = cardOf(id);
    if (!old) continue;
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const fresh = holder.content.firstElementChild;
    const focused = old.contains(document.activeElement);
    tellTimes(fresh);
    old.replaceWith(fresh);
    if (focused) fresh.querySelector(".open").focus({ preventScroll: true });
  }
  if (banner.innerHTML !== news.banner) banner.innerHTML = news.banner;
  if (Object.keys(news.cards).length || news.came.length) countSoon();
  came = news.came;
  const fresh = came.filter((id) => !cardOf(id) && !behind.has(id));
  // Nothing moves under a person's pointer: only a person loads the newest into a grid with photos,
  // except for those that the person has just added.
  const calm = scrollY < innerHeight / 2 && !document.querySelector(".selecting, dialog[open]");
  const free = !grid.querySelector("[data-card]") || uploads.open || (Date.now() < ownUntil && calm);
  if (fresh.length && free && grid.hasAttribute("data-first")) {
    await refresh();
    return;
  }
  pill.hidden = fresh.length === 0;
  pill.textContent = `${fresh.length} new`;
}

pill.addEventListener("click", async (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey || !grid.hasAttribute("data-first")) return;
  event.preventDefault();
  scrollTo(0, 0);
  await refresh().catch((error) => say(error.message));
});
repeat(look, () => (running().length ? 1200 : 2500));

// --- numbers --------------------------------------------------------------------------------------

const COUNT_PAUSE = 4000;
const folder = document.querySelector("[data-overview]");
const notify = document.querySelector("[data-notify]");
let counting = false;
let countAgain = false;
let underWay = null;

/** Shows how many photos each chip has, and how the folder gets on. */
async function count() {
  const answer = await (await ask(new URL(grid.dataset.counts, location.href))).json();
  for (const place of document.querySelectorAll("[data-count]")) {
    const [number, exact] = answer.numbers[place.dataset.count] ?? [null, true];
    place.textContent = !number ? "" : `${number.toLocaleString("en")}${exact ? "" : "+"}`;
  }
  if (!folder) return;
  folder.querySelector("[data-summary]").textContent = answer.summary;
  if (notify) notify.hidden = !answer.under_way || !("Notification" in window) || notify.dataset.on === "yes";
  if (underWay && answer.under_way === 0) finished(answer.summary);
  underWay = answer.under_way;
  // The time that is left passes without any change.
  if (underWay) setTimeout(countSoon, COUNT_PAUSE);
}

async function countSoon() {
  countAgain = true;
  if (counting || document.hidden && notify?.dataset.on !== "yes") return;
  counting = true;
  while (countAgain) {
    countAgain = false;
    await count().catch(() => {}); // the numbers stay as they are; the grid itself says what is wrong
    await new Promise((done) => { setTimeout(done, COUNT_PAUSE); });
  }
  counting = false;
}

function finished(summary) {
  const name = folder.querySelector("h1").textContent;
  say(`${name}: ${summary}`);
  if (notify?.dataset.on === "yes" && Notification.permission === "granted") {
    new Notification(`${name} is done`, { body: summary, tag: `catwalk-${name}` });
  }
}

notify?.addEventListener("click", async () => {
  const allowed = await Notification.requestPermission();
  if (allowed === "granted") {
    notify.dataset.on = "yes";
    notify.hidden = true;
    say("You will be told, as long as this page is open.");
  } else say("This browser does not let the page tell you.");
});

countSoon();
document.addEventListener("visibilitychange", () => { if (!document.hidden) countSoon(); });
document.addEventListener("catwalk:reviewed", countSoon);

// --- filters and keys ---------------------------------------------------------------------------

function show() {
  const url = new URL(filters.action);
  for (const [name, value] of new FormData(filters)) {
    if (value.trim()) url.searchParams.set(name, value.trim());
  }
  location.assign(url);
}

filters.addEventListener("submit", (event) => { event.preventDefault(); show(); });
filters.addEventListener("change", (event) => { if (event.target.closest(".fields")) show(); });

const MOVES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    search.focus();
    search.select();
    return;
  }
  const card = event.target.closest?.("[data-card]");
  const move = MOVES[event.key];
  if (typing || !card || !move) return;
  const cards = [...grid.querySelectorAll("[data-card]")];
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const next = cards[cards.indexOf(card) + move[0] + move[1] * columns];
  if (!next) return;
  event.preventDefault();
  const link = next.querySelector(".open");
  link.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
});

// --- the way to a job's page and back ---------------------------------------------------------------

/** Keeps the order of the photos for the job's page, which leads to the one before and after. */
function keepOrder() {
  const links = [...grid.querySelectorAll("[data-card] .open")].map((link) => link.pathname);
  sessionStorage.setItem("order", JSON.stringify(links));
  sessionStorage.setItem("grid", location.href);
}

/** Leads back to the photo that was looked at last, however far down it was. */
async function comeBack() {
  const last = sessionStorage.getItem("last");
  const length = JSON.parse(sessionStorage.getItem("order") ?? "[]").length;
  if (!last || sessionStorage.getItem("grid") !== location.href) return;
  sessionStorage.removeItem("last");
  const link = () => [...grid.querySelectorAll(".open")].find((each) => each.pathname === last);
  while (!link() && grid.querySelectorAll("[data-card]").length < length) {
    const next = grid.querySelector("[data-more]");
    if (!next || next.textContent === "Try again") break;
    await more(next);
  }
  link()?.closest("[data-card]").scrollIntoView({ block: "center" });
  link()?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-card] .open, [data-deed=compare]")) keepOrder();
});
comeBack().finally(() => sessionStorage.setItem("grid", location.href));
watchMore();
