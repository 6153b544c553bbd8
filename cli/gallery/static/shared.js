// What both pages need: times, broken images, a word at the bottom, asking the server.

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const STEPS = [["second", 60], ["minute", 60], ["hour", 24]];

function ago(moment) {
  let amount = (moment - Date.now()) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) {
      const said = RELATIVE.format(Math.round(amount), unit);
      return said === "now" ? "just now" : said;
    }
    amount /= size;
  }
  return SHORT.format(moment);
}

/** Shows times as the reader's clock has them. */
export function tellTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    time.textContent = ago(moment);
    time.title = EXACT.format(moment);
  }
}

const SAID_TIME = 4000;
const UNDO_TIME = 10_000;
const toast = document.querySelector("[data-toast]");
let hiding;

/** Says something at the bottom of the page, for a while; longer if it can be undone. */
export function say(text, undo = null) {
  const back = toast.contains(document.activeElement);
  toast.replaceChildren(text);
  if (undo) toast.append(undoing(undo));
  toast.hidden = false;
  if (back) document.querySelector("#main").focus({ preventScroll: true });
  hideAfter(undo ? UNDO_TIME : SAID_TIME);
}

/** Returns a button that undoes something, once; the key U presses it. */
export function undoing(undo) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.dataset.undo = "";
  button.append("Undo", Object.assign(document.createElement("kbd"), { textContent: "U", ariaHidden: "true" }));
  button.addEventListener("click", () => {
    button.disabled = true;
    undo();
  });
  return button;
}

function hideAfter(time) {
  clearTimeout(hiding);
  hiding = setTimeout(() => {
    // A button is not taken away from under the pointer or the focus.
    if (toast.querySelector("[data-undo]") && toast.matches(":hover, :focus-within")) hideAfter(SAID_TIME);
    else toast.hidden = true;
  }, time);
}

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.key.toLowerCase() !== "u") return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea") || document.querySelector("dialog[open]")) return;
  const button = [...document.querySelectorAll("[data-undo]")].find((each) => each.checkVisibility());
  button?.click();
});

/** Fetches from the gallery; throws with a sentence if it does not answer as it should. */
export async function ask(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html, application/json" } }).catch(() => null);
  if (answer === null) throw new Error("The gallery does not answer: was it ended?");
  if (answer.status === 403) throw new Error("The gallery was started anew: open the address in its terminal.");
  if (!answer.ok) throw new Error("AWS does not answer as it should; trying again.");
  return answer;
}

/** Does something again and again, later if it fails, and never while nobody looks. */
export function repeat(work, pause) {
  let failures = 0;
  let timer;
  let busy = false;
  async function turn() {
    if (busy) return;
    clearTimeout(timer);
    if (!document.hidden) {
      busy = true;
      try {
        await work();
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures === 2) say(error.message);
      }
      busy = false;
    }
    timer = setTimeout(turn, Math.min(60_000, pause() * 2 ** failures));
  }
  timer = setTimeout(turn, pause());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
}

/** Returns a selector that finds an element again on the same page drawn anew. */
export function named(element) {
  const result = element.closest("[data-result]");
  if (result && element.dataset.mark) {
    return `[data-result="${CSS.escape(result.dataset.result)}"] [data-mark="${element.dataset.mark}"]`;
  }
  if (element.dataset.mark) return `[data-mark="${element.dataset.mark}"]`;
  if (result && element.hasAttribute("data-choose")) return `[data-result="${CSS.escape(result.dataset.result)}"] [data-choose]`;
  for (const name of ["data-handle", "data-dialog", "data-copy", "data-verdict", "data-shoot-one", "href"]) {
    if (element.hasAttribute(name)) return `[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  }
  return null;
}

// An image that cannot be had: its place stays, and says so.
function gone(image) {
  if (image.classList.contains("gone")) return;
  image.classList.add("gone");
  const pane = image.closest(".pane, .single, .compare");
  if (pane && !pane.querySelector(".placeholder")) {
    const note = document.createElement("p");
    note.className = "placeholder";
    note.textContent = "This image cannot be shown";
    pane.append(note);
  }
}

document.addEventListener("error", (event) => {
  if (event.target instanceof HTMLImageElement) gone(event.target);
}, true);
// Those that failed before this script ran.
for (const image of document.images) if (image.complete && image.src && !image.naturalWidth) gone(image);

tellTimes();
setInterval(() => { if (!document.hidden) tellTimes(); }, 30_000);
