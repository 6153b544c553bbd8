// Many at once: boxes on the cards, ranges, all that match, and a bar of what can be done with them.

import { get, plural, send } from "./desk.js";
import { refresh } from "./grid.js";
import { ask, say, tellTimes, undoing } from "./shared.js";
import { shoot } from "./shoot.js";

const grid = document.querySelector("[data-grid]");
const main = document.querySelector("#main");
const bar = document.querySelector("[data-bar]");
const { root, token } = bar.dataset;
const most = Number(bar.dataset.most);
const KEY = `selection ${root}`;

/** By job id: what the page showed of it (`seen`), how many images it has, and on which page it was. */
const selected = new Map(remembered());
/** The job whose box was clicked last: a range begins at its card, which may be drawn anew. */
let last = null;
/** Cards that left the grid after a decision, with their places: undone, they are put back. */
const taken = new Map();

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

const boxes = () => [...grid.querySelectorAll("[data-pick]")];
const idOf = (box) => box.closest("[data-card]").dataset.card;
const cardOf = (id) => grid.querySelector(`[data-card="${CSS.escape(id)}"]`);

const entryOf = (box) => ({ seen: box.dataset.seen, images: Number(box.dataset.images), page: location.search });

function take(box, on) {
  const id = idOf(box);
  if (on && !selected.has(id) && selected.size >= most) {
    box.checked = false;
    say(`At most ${most} can be selected at once.`);
    return;
  }
  if (on) selected.set(id, entryOf(box));
  else selected.delete(id);
  box.checked = on;
}

/** Shows the selection on the cards; a card that was drawn anew is seen anew. */
function sync() {
  for (const box of boxes()) {
    const entry = selected.get(idOf(box));
    box.checked = Boolean(entry);
    if (entry) Object.assign(entry, entryOf(box));
  }
  draw();
}

function draw() {
  sessionStorage.setItem(KEY, JSON.stringify([...selected]));
  const count = selected.size;
  const withImages = [...selected.values()].filter((entry) => entry.images > 0).length;
  const focused = bar.contains(document.activeElement);
  bar.hidden = count === 0;
  document.body.classList.toggle("selecting", count > 0);
  bar.querySelector("[data-many]").textContent = `${count} selected`;
  const away = [...selected.values()].filter((entry) => entry.page !== location.search).length;
  bar.querySelector("[data-elsewhere]").textContent = away ? `${away} of them with other filters` : "";
  bar.querySelector("[data-bar-price]").textContent = plural(count, "credit");
  for (const deed of ["approved", "refused", "download"]) {
    bar.querySelector(`[data-deed="${deed}"]`).setAttribute("aria-disabled", String(withImages === 0));
  }
  const compare = bar.querySelector('[data-deed="compare"]');
  compare.hidden = !(count === 2 && withImages === 2);
  if (!compare.hidden) {
    const [one, other] = selected.keys();
    compare.href = `${root}/jobs/${encodeURIComponent(one)}/compare?with=${encodeURIComponent(other)}`;
  }
  // Whoever worked in the bar goes on in the grid once it is gone.
  if (focused && count === 0) ((cardOf(last) ?? grid).querySelector(".open") ?? main).focus({ preventScroll: true });
}

function range(to, on) {
  const all = boxes();
  const from = all.findIndex((box) => idOf(box) === last);
  const end = all.indexOf(to);
  if (from < 0) return [to];
  return all.slice(Math.min(from, end), Math.max(from, end) + 1);
}

function toggle(box, on, whole) {
  for (const each of whole ? range(box) : [box]) take(each, on);
  last = idOf(box);
  said();
  draw();
}

grid.addEventListener("click", (event) => {
  const box = event.target.closest("[data-pick]");
  if (box) toggle(box, box.checked, event.shiftKey);
});

// With shift, a label would have text selected along the way.
grid.addEventListener("mousedown", (event) => {
  if (event.shiftKey && event.target.closest(".pick")) event.preventDefault();
});

new MutationObserver(sync).observe(grid, { childList: true });

function clear() {
  selected.clear();
  said();
  sync();
}

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && !typing && selected.size) {
    clear();
    return;
  }
  if (typing) return;
  const card = event.target.closest?.("[data-card]");
  if (event.key.toLowerCase() === "s" && card) {
    event.preventDefault();
    const box = card.querySelector("[data-pick]");
    toggle(box, event.shiftKey || !box.checked, event.shiftKey);
  } else if (event.key === "b" && !bar.hidden) {
    event.preventDefault();
    bar.querySelector("[data-deed]").focus();
  }
});

// --- all that match -------------------------------------------------------------------------------

document.querySelector("[data-select-all]").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    const answer = await get(bar.dataset.matching);
    selected.clear();
    for (const { id, ...entry } of answer.jobs) selected.set(id, { ...entry, page: location.search });
    sync();
    said(answer.message);
  } catch (error) {
    say(error.message);
  }
  button.removeAttribute("aria-disabled");
});

// --- what can be done -----------------------------------------------------------------------------

const outcome = Object.assign(document.createElement("p"), { className: "outcome", hidden: true });
outcome.setAttribute("role", "status");
bar.append(outcome);

/** Says something in the bar that stays until the next step: nothing is lost unseen. */
function said(text = "", undo = null) {
  outcome.replaceChildren(text);
  if (undo) outcome.append(undoing(undo));
  outcome.hidden = !text;
}

const chosen = () => [...selected].map(([id, { seen }]) => ({ id, seen }));

const SURE_FROM = 10;
const sure = document.querySelector("[data-sure]");

/** Decides about a few at once; about more than ten after a question, as the command does. */
function decide(state, button) {
  if (selected.size <= SURE_FROM) {
    review(state, button);
    return;
  }
  const verb = state === "approved" ? "Approve" : "Refuse";
  sure.querySelector("h2").textContent = `${verb} ${selected.size} photos?`;
  const yes = sure.querySelector("[data-yes]");
  yes.textContent = `${verb} ${selected.size}`;
  yes.onclick = () => {
    sure.close();
    review(state, button);
  };
  sure.showModal();
}

sure.querySelector("[data-no]").addEventListener("click", () => sure.close());

async function review(state, button) {
  for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-disabled", "true");
  said(state === "approved" ? "Approving…" : "Refusing…");
  const before = [...selected.keys()];
  try {
    const answer = await send(`${root}/selection/review`, token, { state, jobs: chosen() });
    const left = new Map(answer.left.map(({ id, seen }) => [id, seen]));
    for (const id of before) {
      if (!left.has(id)) selected.delete(id);
      else selected.get(id).seen = left.get(id);
    }
    await redraw(before);
    document.dispatchEvent(new Event("catwalk:reviewed"));
    const undo = answer.undo.length ? () => takeBack(answer.undo) : null;
    if (selected.size) said(answer.message, undo);
    else {
      said();
      say(answer.message, undo);
    }
  } catch (error) {
    said(error.message);
  }
  for (const other of bar.querySelectorAll("button")) other.removeAttribute("aria-disabled");
  draw();
  if (!bar.hidden) button.focus({ preventScroll: true });
}

/** Sets the reviews of a decision back; what somebody else has decided since stays. */
async function takeBack(reviews) {
  try {
    const answer = await send(`${root}/selection/undo`, token, { jobs: reviews });
    const ids = reviews.map(({ id }) => id);
    const left = ids.some((id) => taken.has(id));
    putBack(ids);
    // Of all that match, many were never in the grid, and its "More" has passed them.
    if (left && !ids.every(cardOf)) await refresh();
    else await redraw(ids);
    document.dispatchEvent(new Event("catwalk:reviewed"));
    said();
    say(answer.message);
  } catch (error) {
    say(error.message);
  }
}

/** Puts cards back where they were, the last one first: each place counts those before it. */
function putBack(ids) {
  for (const [id, { card, place }] of [...taken].reverse()) {
    if (!ids.includes(id)) continue;
    taken.delete(id);
    if (!cardOf(id)) grid.insertBefore(card, grid.children[place] ?? grid.querySelector(".more"));
  }
}

/** Takes a card away that left the page's filter; the focus and the next range begin beside it. */
function takeAway(id, card) {
  const beside = [card.nextElementSibling, card.previousElementSibling].find((each) => each?.matches("[data-card]"));
  if (last === id) last = beside?.dataset.card ?? null;
  if (card.contains(document.activeElement)) (beside?.querySelector(".open") ?? main).focus({ preventScroll: true });
  taken.delete(id);
  taken.set(id, { card, place: [...grid.children].indexOf(card) });
  card.remove();
}

/** Draws the cards of these jobs anew, where they are on the page, without those that left its filter. */
async function redraw(ids) {
  const here = ids.filter(cardOf);
  for (let place = 0; place < here.length; place += 60) {
    const url = new URL(grid.dataset.live, location.href);
    for (const id of here.slice(place, place + 60)) url.searchParams.append("card", `${id}.-`);
    const news = await (await ask(url)).json();
    for (const [id, html] of Object.entries(news.cards)) {
      const holder = document.createElement("template");
      holder.innerHTML = html;
      tellTimes(holder.content);
      const old = cardOf(id);
      const focused = old?.contains(document.activeElement);
      const fresh = holder.content.firstElementChild;
      old?.replaceWith(fresh);
      if (focused) fresh.querySelector(".open").focus({ preventScroll: true });
    }
    for (const id of news.gone) {
      const card = cardOf(id);
      // What stays selected was decided by somebody else, and is looked at again.
      if (card && !selected.has(id)) takeAway(id, card);
    }
  }
}

bar.addEventListener("click", (event) => {
  if (event.target.closest("[data-clear]")) {
    clear();
    return;
  }
  const button = event.target.closest("[data-deed]");
  if (!button || button.getAttribute("aria-disabled") === "true") return;
  const deed = button.dataset.deed;
  if (deed === "shoot") shoot(chosen(), clear);
  else if (deed === "approved" || deed === "refused") decide(deed, button);
  else if (deed === "download") {
    const form = bar.querySelector("[data-take]");
    form.elements.jobs.value = [...selected.keys()].join(",");
    form.submit();
  }
});

sync();
