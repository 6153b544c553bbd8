// Choosing among a job's images and deciding about the job: on its page, and on each side of a comparison.

import { say } from "./shared.js";

const UNDONE = {
  approved: "Undone. It is approved again.",
  refused: "Undone. It is refused again.",
  to_review: "Undone. It is to be reviewed again.",
};
const SAID = { approved: "Approved.", refused: "Refused.", to_review: "It is to be reviewed again." };
const all = [];

/** The review of one job on a page: a form, and images whose marks stand in it. */
export class Marks {
  #saving = Promise.resolve();
  #waiting = 0;
  /** Whether the last choice could not be saved. */
  #refused = false;

  /** Takes clicks below an element, whose content may be drawn anew at any time. */
  constructor(root) {
    this.root = root;
    all.push(this);
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-mark], [data-verdict]");
      if (!button || !this.form) return;
      event.preventDefault();
      if (button.dataset.verdict) this.#decide(button.dataset.verdict);
      else this.#mark(this.#numberOf(button), button.dataset.mark);
    });
  }

  get form() {
    return this.root.querySelector("[data-review]");
  }

  /** The image that is shown large, in the strip. */
  get shown() {
    return this.root.querySelector("[data-result]:has([aria-current])");
  }

  get waiting() {
    return this.#waiting > 0;
  }

  /** Waits until everything is saved; tells whether it was. */
  async saved() {
    const waited = this.waiting;
    while (this.waiting) await this.#saving;
    return !waited || !this.#refused;
  }

  /** Does what a key stands for, once while it is held down; tells whether it did anything. */
  press(event) {
    if (!this.form || event.repeat) return false;
    const key = event.key.toLowerCase();
    const numbered = /^[1-9]$/.test(key) && this.root.querySelector(`[data-result="${key}"]`);
    if (numbered) {
      numbered.querySelector("a, [data-choose]").click();
      this.#mark(key, "chosen");
    } else if (key === "x" && this.shown) this.#mark(this.shown.dataset.result, "refused");
    else if (key === "a") this.#decide("approved");
    else if (key === "r") this.#decide("refused");
    else return false;
    return true;
  }

  /** Draws what the form holds. */
  draw() {
    if (!this.form) return;
    const [chosen, refused] = [this.#numbers("chosen"), this.#numbers("refused")];
    for (const result of this.root.querySelectorAll("[data-result]")) {
      result.classList.toggle("chosen", chosen.includes(result.dataset.result));
      result.classList.toggle("refused", refused.includes(result.dataset.result));
    }
    for (const button of this.root.querySelectorAll("[data-mark]")) {
      const on = this.#numbers(button.dataset.mark).includes(this.#numberOf(button));
      button.setAttribute("aria-pressed", String(on));
    }
    for (const button of this.form.querySelectorAll("[data-verdict]")) {
      const on = this.form.dataset.state === button.dataset.verdict;
      button.setAttribute("aria-pressed", String(on));
      button.classList.toggle("set", on);
    }
  }

  #numbers(name) {
    return this.form.elements[name].value.split(",").filter(Boolean);
  }

  /** A mark's button stands beside its image, or belongs to the one that is shown. */
  #numberOf(button) {
    return (button.closest("[data-result]") ?? this.shown)?.dataset.result;
  }

  #mark(number, kind) {
    const { elements } = this.form;
    const other = kind === "chosen" ? "refused" : "chosen";
    const now = new Set(this.#numbers(kind));
    if (now.has(number)) now.delete(number); else now.add(number);
    elements[other].value = this.#numbers(other).filter((each) => each !== number).join(",");
    elements[kind].value = [...now].sort().join(",");
    this.draw();
    this.#save();
  }

  #decide(verdict) {
    const { dataset, elements } = this.form;
    const before = { state: dataset.state, chosen: elements.chosen.value, refused: elements.refused.value };
    dataset.state = before.state === verdict ? "to_review" : verdict;
    this.draw();
    this.#save(SAID[dataset.state], (saved) => this.#undo(before, saved));
  }

  /** Sets a review back, unless somebody has changed it since this page's own decision. */
  #undo(before, saved) {
    const review = this.form;
    if (!review || Number(review.elements.revision.value) !== saved.revision || Number(review.elements.attempt.value) !== saved.attempt) {
      say("The review has changed since then; nothing was undone.");
      return;
    }
    review.dataset.state = before.state;
    review.elements.chosen.value = before.chosen;
    review.elements.refused.value = before.refused;
    this.draw();
    this.#save(UNDONE[before.state]);
  }

  /** Sends what the form holds now; one after the other, each with the revision of the last answer. */
  #save(said = "", undo = null) {
    if (!this.#waiting) this.#refused = false;
    this.#waiting += 1;
    this.root.toggleAttribute("data-saving", true);
    this.#saving = this.#saving.then(async () => {
      const review = this.form;
      // What was chosen on top of a choice that was refused is refused with it.
      if (!review || this.#refused) return;
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
      if (said) say(said, undo && (() => undo(now)));
    }).catch((error) => {
      this.#refused = true;
      // The page shows what was not saved: it is drawn anew, also if the record has not changed.
      this.root.querySelector("[data-version]").dataset.version = "";
      say(error.message);
    }).finally(() => {
      this.#waiting -= 1;
      // The page is drawn anew from the record once nothing is on its way.
      if (this.#waiting) return;
      this.root.toggleAttribute("data-saving", false);
      document.dispatchEvent(new Event("catwalk:look"));
    });
  }
}

/** Leaves the page once everything is saved; stays if something could not be. */
export async function go(address) {
  const saved = await Promise.all(all.map((marks) => marks.saved()));
  if (saved.every(Boolean)) location.assign(address);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || link.target || event.defaultPrevented || !all.some((marks) => marks.waiting)) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href);
});

// Closing or reloading the page would break off what is being saved.
addEventListener("beforeunload", (event) => {
  if (all.some((marks) => marks.waiting)) event.preventDefault();
});
