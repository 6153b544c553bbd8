// Two images side by side, with one zoom and one place: wheel, pinch, dragging, keys and buttons. Each
// side is reviewed as on the job's page; keys are for the side that was used last.

import { Marks } from "./marks.js";
import { ask, named, repeat, say, tellTimes } from "./shared.js";

const table = document.querySelector("[data-table]");
const frames = [...document.querySelectorAll("[data-frame]")];
const scaleShown = document.querySelector("[data-scale]");
const MOST = 8;
const SHARP = 1.6;

// Where both images lie: x and y are shares of the frame's size, so that both frames may differ.
const view = { scale: 1, x: 0, y: 0 };

function draw() {
  const room = (view.scale - 1) / 2;
  view.x = Math.max(-room, Math.min(room, view.x));
  view.y = Math.max(-room, Math.min(room, view.y));
  for (const frame of frames) {
    const image = frame.querySelector("[data-shown]");
    if (!image) continue;
    image.style.transform = `translate(${100 * view.x}%, ${100 * view.y}%) scale(${view.scale})`;
    if (view.scale > SHARP) sharpen(image);
  }
  scaleShown.textContent = `${Math.round(100 * view.scale)} %`;
  table.classList.toggle("near", view.scale > 1);
}

/** Shows the original once the small copy would look soft. */
function sharpen(image) {
  const { original } = image.dataset;
  if (!original || image.getAttribute("src") === original) return;
  const full = new Image();
  full.src = original;
  full.decode().then(() => { if (image.dataset.original === original) image.src = original; }).catch(() => {});
}

/** Zooms; what lies at a point of the frame (from its middle, in shares) comes to lie at `to`. */
function zoom(factor, at = { x: 0, y: 0 }, to = at) {
  const scale = Math.max(1, Math.min(MOST, view.scale * factor));
  const change = scale / view.scale;
  view.x = to.x - (at.x - view.x) * change;
  view.y = to.y - (at.y - view.y) * change;
  view.scale = scale;
  draw();
}

function point(event, frame) {
  const box = frame.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width - .5, y: (event.clientY - box.top) / box.height - .5 };
}

table.addEventListener("wheel", (event) => {
  const frame = event.target.closest("[data-frame]");
  if (!frame) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.ctrlKey ? .01 : .0016)), point(event, frame));
}, { passive: false });

const fingers = new Map();

table.addEventListener("pointerdown", (event) => {
  const frame = event.target.closest("[data-frame]");
  if (!frame || event.button !== 0) return;
  frame.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, { frame, ...point(event, frame) });
});

table.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = point(event, before.frame);
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const far = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) || .001;
    const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    zoom(far(now, other) / far(before, other), middle(before, other), middle(now, other));
  } else {
    view.x += now.x - before.x;
    view.y += now.y - before.y;
    draw();
  }
  fingers.set(event.pointerId, { frame: before.frame, ...now });
});

for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
  table.addEventListener(end, (event) => fingers.delete(event.pointerId));
}

table.addEventListener("dblclick", (event) => {
  const frame = event.target.closest("[data-frame]");
  if (frame) zoom(view.scale > 1 ? 1 / view.scale : 2.5, point(event, frame));
});

const STEP = .12;
const MOVES = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

function fit() {
  Object.assign(view, { scale: 1, x: 0, y: 0 });
  draw();
}

// --- the review -----------------------------------------------------------------------------------

const sides = [...document.querySelectorAll("[data-side]")].map((root) => ({ root, marks: new Marks(root) }));
let active = sides[0];

/** Has the keys act on a side. */
function use(side) {
  active = side;
  for (const each of sides) each.root.classList.toggle("active", each === side);
}

for (const side of sides) {
  for (const kind of ["pointerdown", "focusin"]) side.root.addEventListener(kind, () => use(side));
}

/** Shows an image of a side's strip large. */
function choose(button) {
  const half = button.closest("[data-side]");
  half.querySelector("[aria-current]")?.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
  const image = half.querySelector("[data-shown]");
  image.src = button.dataset.large;
  image.alt = button.dataset.alt;
  image.dataset.original = button.dataset.original;
  sides.find(({ root }) => root === half).marks.draw();
  draw();
}

/** Draws each side's review anew if its record has changed. */
async function look() {
  if (document.querySelector("[data-saving]")) return;
  const text = await (await ask(location.href)).text();
  if (document.querySelector("[data-saving]")) return;
  const page = new DOMParser().parseFromString(text, "text/html");
  tellTimes(page);
  const news = page.querySelectorAll("[data-side] [data-version]");
  for (const [place, { root, marks }] of sides.entries()) {
    const old = root.querySelector("[data-version]");
    if (!news[place] || news[place].dataset.version === old.dataset.version) continue;
    const focused = old.contains(document.activeElement) ? named(document.activeElement) : null;
    const shown = marks.shown?.dataset.result;
    old.replaceWith(news[place]);
    const button = root.querySelector(`[data-result="${shown}"] [data-choose]`) ?? root.querySelector("[aria-current]");
    // New images of another attempt lie at other addresses.
    if (button && root.querySelector("[data-shown]")) choose(button);
    if (focused) root.querySelector(focused)?.focus({ preventScroll: true });
  }
}

document.addEventListener("catwalk:look", () => look().catch((error) => say(error.message)));
repeat(look, () => 5000);

// --- keys and buttons -----------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const key = event.key.toLowerCase();
  const move = MOVES[event.key];
  if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(.8);
  else if (event.key === "0") fit();
  else if (move && view.scale > 1) {
    view.x += move[0];
    view.y += move[1];
    draw();
  } else if (key === "s" && !event.repeat) {
    // The focus goes along: else Tab would lead back to the other side.
    if (active.root.contains(document.activeElement)) table.focus({ preventScroll: true });
    use(sides[1 - sides.indexOf(active)]);
  } else if (!active.marks.press(event)) return;
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (button) ({ in: () => zoom(1.25), out: () => zoom(.8), fit })[button.dataset.zoom]();
  const choice = event.target.closest("[data-choose]");
  if (choice) choose(choice);
});

// A person who came from the photos goes back to them. The referrer has no hash.
const back = document.querySelector("[data-back]");
const grid = sessionStorage.getItem("grid");
if (grid && document.referrer === grid.split("#")[0]) {
  back.href = grid;
  back.lastChild.textContent = "All photos";
}

use(active);
draw();
