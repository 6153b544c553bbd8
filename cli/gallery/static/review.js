// Reviewing a job: marks on its images, approval, keys, the jobs before and after it.

import { say } from "./shared.js";

const main = document.querySelector("#main");
const form = () => main.querySelector("[data-review]");
let saving = Promise.resolve();
let waiting = 0;
/** Whether the last choice could not be saved. */
let refused = false;

const numbers = (name) => form().elements[name].value.split(",").filter(Boolean);

/** Draws what the form holds. */
function draw() {
  const review = form();
  const chosen = numbers("chosen");
  const refused = numbers("refused");
  for (const result of main.querySelectorAll("[data-result]")) {
    const number = result.dataset.result;
    result.classList.toggle("chosen", chosen.includes(number));
    result.classList.toggle("refused", refused.includes(number));
    for (const button of result.querySelectorAll("[data-mark]")) {
      button.setAttribute("aria-pressed", String(numbers(button.dataset.mark).includes(number)));
    }
  }
  for (const button of review.querySelectorAll("[data-verdict]")) {
    const on = review.dataset.state === button.dataset.verdict;
    button.setAttribute("aria-pressed", String(on));
    button.classList.toggle("set", on);
  }
}

/** Sends what the form holds now; one after the other, each with the revision of the last answer. */
function save(said) {
  if (!waiting) refused = false;
  waiting += 1;
  main.toggleAttribute("data-saving", true);
  saving = saving.then(async () => {
    const review = form();
    // What was chosen on top of a choice that was refused is refused with it.
    if (!review || refused) return;
    const body = new URLSearchParams(new FormData(review));
    body.set("state", review.dataset.state);
    const answer = await fetch(review.action, {
      method: "POST", body, headers: { Accept: "application/json" }, keepalive: true,
    }).catch(() => null);
    if (answer === null) throw new Error("The gallery does not answer; your choice was not saved.");
    const now = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(now.message ?? "Your choice was not saved. Load the page anew.");
    // Only now: with another person's revision, this page's marks would take the place of theirs.
    review.elements.revision.value = now.revision;
    review.elements.attempt.value = now.attempt;
    if (said) say(said);
  }).catch((error) => {
    refused = true;
    // The page shows what was not saved: it is drawn anew, also if the record has not changed.
    main.querySelector("[data-job]").dataset.version = "";
    say(error.message);
  }).finally(() => {
    waiting -= 1;
    // The page is drawn anew from the record once nothing is on its way.
    if (waiting) return;
    main.toggleAttribute("data-saving", false);
    document.dispatchEvent(new Event("catwalk:look"));
  });
}

/** Leaves the page once everything is saved; stays if something could not be. */
async function go(address) {
  const waited = waiting > 0;
  while (waiting) await saving;
  if (!waited || !refused) location.assign(address);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!waiting || !link || link.target || event.defaultPrevented) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href);
});

// Closing or reloading the page would break off what is being saved.
addEventListener("beforeunload", (event) => { if (waiting) event.preventDefault(); });

function mark(number, kind) {
  const review = form();
  const other = kind === "chosen" ? "refused" : "chosen";
  const now = new Set(numbers(kind));
  if (now.has(number)) now.delete(number); else now.add(number);
  review.elements[kind].value = [...now].sort().join(",");
  review.elements[other].value = numbers(other).filter((each) => each !== number).join(",");
  draw();
  save();
}

function decide(verdict) {
  const review = form();
  const undone = review.dataset.state === verdict;
  review.dataset.state = undone ? "to_review" : verdict;
  draw();
  save(undone ? "It is to be reviewed again." : verdict === "approved" ? "Approved." : "Refused.");
}

main.addEventListener("click", (event) => {
  const button = event.target.closest("[data-mark], [data-verdict]");
  if (!button || !form()) return;
  event.preventDefault();
  if (button.dataset.verdict) decide(button.dataset.verdict);
  else mark(button.closest("[data-result]").dataset.result, button.dataset.mark);
});

// --- the jobs before and after -------------------------------------------------------------------

const around = document.querySelector("[data-around]");
const order = JSON.parse(sessionStorage.getItem("order") ?? "[]");
const here = order.indexOf(location.pathname);
const links = {
  ArrowLeft: [around.querySelector("[data-previous]"), order[here - 1]],
  ArrowRight: [around.querySelector("[data-following]"), order[here + 1]],
};
for (const [link, address] of Object.values(links)) {
  if (address && here >= 0) link.href = address; else link.setAttribute("aria-disabled", "true");
}
around.hidden = here < 0;
if (here >= 0) sessionStorage.setItem("last", location.pathname);

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea, [data-handle]")) return;
  if (links[event.key]) {
    const [link] = links[event.key];
    if (link.href) go(link.href);
    return;
  }
  if (!form()) return;
  const key = event.key.toLowerCase();
  const shown = main.querySelector("[data-strip] [aria-current]")?.closest("[data-result]");
  const numbered = main.querySelector(`[data-result="${CSS.escape(key)}"]`);
  if (/^[1-9]$/.test(key) && numbered) {
    numbered.querySelector("a").click();
    mark(key, "chosen");
  } else if (key === "x" && shown) mark(shown.dataset.result, "refused");
  else if (key === "a") decide("approved");
  else if (key === "r") decide("refused");
  else return;
  event.preventDefault();
});
