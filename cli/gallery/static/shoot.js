// The dialog that shoots photos again: model, background, number of images, and what it costs.

import { chosenLook, plural, send, settled, showFaces, watchLook } from "./desk.js";
import { say } from "./shared.js";

const dialog = document.querySelector("[data-shoot]");
const form = dialog.querySelector("[data-shoot-form]");
const total = dialog.querySelector("[data-shoot-total]");
const button = dialog.querySelector("[data-shoot-send]");
const { root, token } = dialog.dataset;

let jobs = [];
/** Tells this opening of the dialog from others: the server keeps what it has read of the photos. */
let opening = "";
let price = null;
/** By job id, of the quote that is shown: what has been quoted once is made once. */
let nonces = {};
let turn = 0;
let done = () => {};

/** The button of the dialog may come to lie under the one that opened it: a second click costs nothing. */
const CALM_TIME = 900;
let calm;

/** Opens the dialog for these jobs; calls back once they are under way. */
export function shoot(chosen, after = () => {}) {
  jobs = chosen;
  done = after;
  opening = crypto.randomUUID();
  calm = new Promise((over) => { setTimeout(over, CALM_TIME); });
  dialog.querySelector("h2").textContent = jobs.length === 1 ? "Shoot again" : `Shoot ${jobs.length} photos again`;
  dialog.querySelector("[data-shoot-what]").textContent = jobs.length === 1
    ? "New images of the same photo. The present images stay."
    : "New images of the same photos. The present images stay.";
  form.reset();
  dialog.showModal();
  showFaces(dialog, root);
  quote();
}

function tell(text, kind = "faint") {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  return line;
}

function ready(on) {
  button.setAttribute("aria-disabled", String(!on));
}

async function quote() {
  const mine = ++turn;
  price = null;
  ready(false);
  try {
    const answer = await send(`${root}/selection/quote`, token, { jobs, dialog: opening, ...chosenLook(form) });
    await calm;
    if (mine === turn) show(answer);
  } catch (error) {
    if (mine === turn) total.replaceChildren(tell(error.message, "wrong"));
  }
}

function show(answer) {
  price = answer.credits;
  nonces = answer.nonces;
  const cost = document.createElement("p");
  cost.className = "cost";
  const sum = document.createElement("strong");
  sum.textContent = answer.price;
  cost.append(`${answer.sentence}: `, sum);
  const lines = answer.photos ? [cost] : [];
  for (const more of [answer.already, answer.once]) if (more) lines.push(tell(more));
  if (answer.refused_photos) {
    lines.push(tell(answer.photos ? `${plural(answer.refused_photos, "photo")} cannot be shot again:` : "This cannot be done:", "wrong"));
    const list = document.createElement("ul");
    for (const { why, count } of answer.refused) {
      const item = document.createElement("li");
      item.textContent = count > 1 ? `${count} × ${why}` : why;
      list.append(item);
    }
    lines.push(list);
  }
  total.replaceChildren(...lines);
  button.replaceChildren("Shoot again", Object.assign(document.createElement("span"), { className: "price", textContent: answer.price }));
  ready(answer.photos > 0);
}

const later = settled(quote);
watchLook(form, () => { ready(false); later(); });

// What costs something is sent by its button alone.
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-disabled") === "true" || price === null) return;
  ready(false);
  turn += 1;
  try {
    const answer = await send(`${root}/selection/shoot`, token, { jobs, dialog: opening, nonces, credits: price, ...chosenLook(form) });
    dialog.close();
    say(answer.message);
    done();
  } catch (error) {
    if (error.document?.sentence) show(error.document);
    else ready(price !== null);
    total.prepend(tell(error.message, "wrong"));
  }
});

dialog.querySelector("[data-shoot-close]").addEventListener("click", () => dialog.close());
