// A job's page: the slider, the filmstrip, questions before anything is done, what changes.

import { ask, named, repeat, say, tellTimes } from "./shared.js";

const main = document.querySelector("#main");
const STEP = 5;

// --- the slider -------------------------------------------------------------------------------

function cut(compare, percent) {
  const value = Math.round(Math.max(0, Math.min(100, percent)));
  const handle = compare.querySelector("[data-handle]");
  compare.style.setProperty("--cut", `${value}%`);
  handle.setAttribute("aria-valuenow", String(value));
  handle.setAttribute("aria-valuetext", `${value} % photo`);
  compare.querySelector(".left").style.opacity = value < 14 ? 0 : 1;
  compare.querySelector(".right").style.opacity = value > 86 ? 0 : 1;
}

function follow(compare, event) {
  const box = compare.getBoundingClientRect();
  cut(compare, (100 * (event.clientX - box.left)) / box.width);
}

main.addEventListener("pointerdown", (event) => {
  const compare = event.target.closest("[data-compare]");
  if (!compare || event.button !== 0) return;
  event.preventDefault();
  compare.setPointerCapture(event.pointerId);
  compare.querySelector("[data-handle]").focus({ preventScroll: true });
  follow(compare, event);
});

main.addEventListener("pointermove", (event) => {
  const compare = event.target.closest("[data-compare]");
  if (compare?.hasPointerCapture(event.pointerId)) follow(compare, event);
});

main.addEventListener("keydown", (event) => {
  const handle = event.target.closest("[data-handle]");
  if (!handle) return;
  const now = Number(handle.getAttribute("aria-valuenow"));
  const next = {
    ArrowLeft: now - STEP, ArrowDown: now - STEP, ArrowRight: now + STEP, ArrowUp: now + STEP,
    PageDown: now - 4 * STEP, PageUp: now + 4 * STEP, Home: 0, End: 100,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  cut(handle.closest("[data-compare]"), next);
});

// --- the filmstrip and what lies around --------------------------------------------------------

function choose(link) {
  const shown = main.querySelector("[data-after]");
  for (const other of main.querySelectorAll("[data-strip] [aria-current]")) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  shown.src = link.dataset.large;
  shown.alt = link.dataset.alt;
  const frame = main.querySelector("[data-frame]");
  frame.setAttribute("width", link.dataset.width);
  frame.setAttribute("height", link.dataset.height);
  frame.setAttribute("viewBox", `0 0 ${link.dataset.width} ${link.dataset.height}`);
  main.querySelector("[data-original]").href = link.href;
  main.querySelector("[data-download-one]").href = link.dataset.download;
}

main.addEventListener("click", async (event) => {
  const link = event.target.closest("a, button");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.matches("[data-strip] li a")) {
    event.preventDefault();
    choose(link);
  } else if (link.dataset.dialog) {
    event.preventDefault();
    document.getElementById(link.dataset.dialog).showModal();
  } else if (link.matches("[data-close]")) {
    event.preventDefault();
    link.closest("dialog").close();
  } else if (link.dataset.copy) {
    try {
      await navigator.clipboard.writeText(link.dataset.copy);
      say("Copied.");
    } catch {
      say("This browser does not let pages copy; select the text instead.");
    }
  }
});

main.addEventListener("keydown", (event) => {
  // What looks like a button is pressed like one.
  if (event.key === " " && event.target.matches("a[role=button]")) {
    event.preventDefault();
    event.target.click();
  }
});

main.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-once]");
  if (!form) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
});

// Back to this page: its forms may be sent again.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// --- what changes -----------------------------------------------------------------------------

const page = () => main.querySelector("[data-job]");

const shownMain = main.querySelector("[data-main]");

async function look() {
  const shown = page();
  // Nobody's answer is taken away from under the pointer.
  const busy = () => main.querySelector("dialog[open]") || main.hasAttribute("data-saving");
  if (busy()) return;
  const url = new URL(`${shown.dataset.job}/live`, location.href);
  url.searchParams.set("version", shown.dataset.version);
  const answer = await ask(url);
  if (answer.status === 204) return;
  const html = await answer.text();
  if (busy()) return;
  const said = main.querySelector(".said");
  const focused = main.contains(document.activeElement) ? named(document.activeElement) : null;
  const percent = Number(main.querySelector("[data-handle]")?.getAttribute("aria-valuenow") ?? 50);
  const original = main.querySelector("[data-strip] [aria-current]")?.getAttribute("href");
  shownMain.innerHTML = html;
  // What a form was answered is true until the job has ended.
  if (said && (page().hasAttribute("data-running") || said.matches(".doubt"))) page().prepend(said);
  tellTimes(main);
  // The reader goes on from where they were.
  const compare = main.querySelector("[data-compare]");
  if (compare) cut(compare, percent);
  const chosen = original && main.querySelector(`[data-strip] a[href="${CSS.escape(original)}"]`);
  if (chosen) choose(chosen);
  if (focused) main.querySelector(focused)?.focus({ preventScroll: true });
}

document.addEventListener("catwalk:look", () => look().catch((error) => say(error.message)));
repeat(look, () => (page().hasAttribute("data-running") ? 1200 : 5000));

// --- the way back -----------------------------------------------------------------------------

const grid = sessionStorage.getItem("grid");
if (grid && new URL(grid).origin === location.origin) document.querySelector("[data-back]").href = grid;

// What was said is said once: a link that is copied from here says nothing.
if (location.search) history.replaceState(null, "", location.pathname);
