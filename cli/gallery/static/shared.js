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

let hiding;

/** Says something at the bottom of the page, for a while. */
export function say(text) {
  const toast = document.querySelector("[data-toast]");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, 4000);
}

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
