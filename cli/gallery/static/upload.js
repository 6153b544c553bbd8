// Photos that are dropped into the page: a sheet that lists, checks and prices them, then uploads.

import { chosenLook, get, plural, send, settled, showFaces, watchLook } from "./desk.js";
import { say } from "./shared.js";

const dialog = document.querySelector("[data-upload]");
const form = dialog.querySelector("[data-upload-form]");
const list = dialog.querySelector("[data-files]");
const total = dialog.querySelector("[data-upload-total]");
const start = dialog.querySelector("[data-start]");
const discard = dialog.querySelector("[data-discard]");
const whole = dialog.querySelector("[data-whole]");
const browse = dialog.querySelector("[data-browse]");
const here = document.querySelector("[data-drop-here]");
const { root, token } = dialog.dataset;
const KEY = `upload ${root}`;
const AT_ONCE = 2;
const PAUSES = [500, 1000, 2000, 4000, 8000];
const MOST = 1000;

/** Files of the list, by number: file, path, state (sending, here, broken), row. */
let rows = new Map();
let name = null;
let chunk = 4 * 2 ** 20;
let next = 0;
let phase = "choosing";
let price = null;
let turn = 0;

// --- photos come in -------------------------------------------------------------------------------

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0;

function hover(on) {
  here.hidden = !on;
  if (!on) depth = 0;
}

addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth += 1;
  hover(true);
});
addEventListener("dragleave", (event) => {
  if (carriesFiles(event) && --depth <= 0) hover(false);
});
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
});
addEventListener("drop", async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  hover(false);
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  // The entries are there only until this event is over.
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  add(found);
});

/** Collects files with the folders that they lie in; dotfiles of folders are not meant.
 *
 * What the browser cannot read is listed without a file, so that nothing is left out unseen. */
async function walk(entry, folder, found) {
  if (!entry || found.length > MOST) return;
  if (entry instanceof File) found.push({ file: entry, path: entry.name });
  else if (entry.isFile) {
    if (folder && entry.name.startsWith(".")) return;
    const file = await new Promise((done) => { entry.file(done, () => done(null)); });
    found.push({ file, path: folder + entry.name });
  } else if (!entry.name.startsWith(".")) {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done) => { reader.readEntries(done, () => done(null)); });
      if (some === null) found.push({ file: null, path: `${folder}${entry.name}/` });
      if (!some?.length) break;
      for (const inner of some) await walk(inner, `${folder}${entry.name}/`, found);
    }
  }
}

for (const button of document.querySelectorAll("[data-add-photos]")) {
  button.addEventListener("click", () => (rows.size || phase !== "choosing" ? open() : browse.click()));
}
dialog.querySelector("[data-more-photos]").addEventListener("click", () => browse.click());
browse.addEventListener("change", () => {
  add([...browse.files].map((file) => ({ file, path: file.name })));
  browse.value = "";
});

function open() {
  if (!dialog.open) dialog.showModal();
  showFaces(dialog, root);
}

let beginning = null;

async function add(found) {
  if (!found.length) return;
  if (phase === "starting" || phase === "uploading") {
    open();
    say("Photos are being uploaded; add more once they are done.");
    return;
  }
  if (phase === "done") reset();
  if (rows.size + found.length > MOST) {
    say(`At most ${MOST} files can be added at once.`);
    return;
  }
  try {
    // Photos that are dropped while the list begins belong to the same list.
    if (name === null) ({ list: name, chunk } = await (beginning ??= send(`${root}/uploads`, token)));
  } catch (error) {
    say(error.message);
    return;
  } finally {
    beginning = null;
  }
  for (const { file, path } of found) {
    // A good photo takes the place of one that could not be used.
    const bad = [...rows.values()].find((entry) => entry.path === path && entry.row.classList.contains("bad"));
    if (bad) leaveOut(bad);
    const number = next++;
    const row = draw(number, path, file);
    const entry = { number, file, path, row, state: file ? "waiting" : "broken" };
    rows.set(number, entry);
    if (!file) mark(entry, { problem: "This browser cannot read it; it is left out." });
  }
  open();
  drawHead();
  pump();
  thumbs();
}

// --- rows -----------------------------------------------------------------------------------------

function draw(number, path, file) {
  const row = dialog.querySelector("[data-row]").content.firstElementChild.cloneNode(true);
  row.dataset.number = number;
  row.querySelector(".called").textContent = path;
  row.querySelector(".kind").textContent = path.split(".").pop().slice(0, 4).toUpperCase();
  row.querySelector(".own .unseen").textContent = `SKU of ${path}`;
  row.querySelector(".shut").setAttribute("aria-label", `Leave out ${path}`);
  row.querySelector(".look").textContent = file ? "Reading…" : "";
  list.append(row);
  return row;
}

let painting = false;

/** Draws small copies one after the other: a camera's picture takes much memory while it is read. */
async function thumbs() {
  if (painting) return;
  painting = true;
  for (const entry of [...rows.values()]) {
    if (entry.painted || !entry.file) continue;
    entry.painted = true;
    const canvas = entry.row.querySelector("canvas");
    const small = await createImageBitmap(entry.file, { resizeHeight: 256, resizeQuality: "medium" }).catch(() => null);
    if (!small) continue;
    const share = Math.max(canvas.width / small.width, canvas.height / small.height);
    const [width, height] = [small.width * share, small.height * share];
    canvas.getContext("2d").drawImage(small, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    small.close();
    canvas.hidden = false;
    entry.row.querySelector(".kind").hidden = true;
  }
  painting = false;
  if ([...rows.values()].some((entry) => entry.file && !entry.painted)) thumbs();
}

function leaveOut(entry) {
  entry.gone = true;
  rows.delete(entry.number);
  entry.row.remove();
}

list.addEventListener("click", (event) => {
  const button = event.target.closest(".shut");
  if (!button || phase !== "choosing") return;
  const row = button.closest("li");
  const beside = row.nextElementSibling ?? row.previousElementSibling;
  leaveOut(rows.get(Number(row.dataset.number)));
  (beside?.querySelector(".shut") ?? dialog.querySelector("[data-more-photos]")).focus();
  drawHead();
  check();
});

function drawHead() {
  const count = rows.size;
  for (const button of document.querySelectorAll("[data-add-photos]")) {
    button.textContent = phase === "uploading" ? "Uploading…" : count && phase === "choosing" ? `Add photos (${count})` : "Add photos";
  }
}

// --- chunks ---------------------------------------------------------------------------------------

let sending = 0;

function pump() {
  for (const entry of rows.values()) {
    if (sending >= AT_ONCE) return;
    if (entry.state !== "waiting") continue;
    entry.state = "sending";
    sending += 1;
    sendFile(entry).finally(() => { sending -= 1; pump(); });
  }
  if (!sending) check();
}

const pauseOrOnline = (time) => new Promise((done) => {
  const timer = setTimeout(finish, time);
  function finish() { clearTimeout(timer); removeEventListener("online", finish); done(); }
  addEventListener("online", finish);
});

/** Tells whether a file is still as it was when it was added; else a browser sends nothing of it. */
const readable = (piece) => piece.slice(0, 1).arrayBuffer().then(() => true, () => false);

/** Sends a file in chunks; goes on where a chunk broke off, for as long as it takes. */
async function sendFile(entry) {
  const { file, number, path } = entry;
  const address = `${root}/uploads/${name}/files/${number}`;
  const query = `path=${encodeURIComponent(path.normalize())}&size=${file.size}`;
  let offset = 0;
  let failures = 0;
  const bar = entry.row.querySelector("progress");
  do {
    if (entry.gone) return;
    const piece = file.slice(offset, offset + chunk);
    try {
      const answer = await send(`${address}?${query}&offset=${offset}`, token, piece, { method: "PUT" });
      offset = answer.received;
      failures = 0;
    } catch (error) {
      if (error.status === 409) offset = error.document.received;
      else if (!(await readable(piece))) {
        entry.state = "broken";
        mark(entry, { problem: "It was changed or taken away since it was added; add it once more." });
        return;
      } else if (!error.lost) {
        entry.state = "broken";
        mark(entry, { problem: error.message });
        return;
      } else {
        mark(entry, { note: "The connection is lost; it goes on by itself." });
        await pauseOrOnline(PAUSES[Math.min(failures++, PAUSES.length - 1)]);
        const known = await get(address).catch(() => null);
        if (known) offset = known.received;
        continue;
      }
      await pauseOrOnline(200);
    }
    bar.hidden = offset >= file.size || file.size <= chunk;
    bar.value = file.size ? offset / file.size : 1;
  } while (offset < file.size);
  bar.hidden = true;
  entry.state = "here";
  mark(entry, { look: "Checking…" });
}

function mark(entry, { look, problem = "", note = "" }) {
  const { row } = entry;
  row.classList.toggle("bad", Boolean(problem));
  if (look !== undefined) row.querySelector(".look").textContent = look;
  for (const [kind, text] of [["problem", problem], ["note", note]]) {
    const line = row.querySelector(`.${kind}`);
    line.textContent = text;
    line.hidden = !text;
  }
  row.querySelector(".look").hidden = Boolean(problem);
}

// --- the check ------------------------------------------------------------------------------------

function request() {
  const skus = {};
  for (const [number, { row }] of rows) {
    const own = row.querySelector(".own input").value.trim();
    if (own) skus[number] = own;
  }
  return {
    folder: form.elements.folder.value,
    sku: form.elements.sku.value,
    skus,
    files: [...rows.values()].filter((entry) => entry.state === "here").map((entry) => entry.number),
    ...chosenLook(form),
  };
}

function ready(on, label = "") {
  start.setAttribute("aria-disabled", String(!on));
  const cost = Object.assign(document.createElement("span"), { className: "price", textContent: label });
  start.replaceChildren("Start", ...(label ? [cost] : []));
}

function tell(text, kind = "faint") {
  return Object.assign(document.createElement("p"), { className: kind, textContent: text });
}

async function check() {
  if (phase === "starting") return;
  const mine = ++turn;
  price = null;
  ready(false);
  if (phase !== "choosing") return;
  if (!rows.size) {
    total.replaceChildren(tell("Drop photos here, or add some."));
    return;
  }
  const asked = request();
  if (sending || !asked.files.length) {
    const broken = [...rows.values()].every((entry) => entry.state === "broken");
    total.replaceChildren(tell(broken ? "None of these can be used." : "Reading the photos…"));
    return;
  }
  try {
    const answer = await send(`${root}/uploads/${name}/check`, token, asked);
    if (mine === turn) show(answer);
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 404) forget();
    total.replaceChildren(tell(error.message, "wrong"));
  }
}

function show(answer) {
  for (const { number, key, kind, look, sku, problem, exists } of answer.rows) {
    const entry = rows.get(number);
    if (!entry) continue;
    entry.row.querySelector(".called").textContent = key;
    const own = entry.row.querySelector(".own input");
    own.placeholder = sku || "SKU";
    own.classList.toggle("found", Boolean(sku));
    entry.row.querySelector(".own").hidden = kind !== "photo" || Boolean(problem);
    mark(entry, { look: kind === "photo" ? look : kind, problem, note: exists });
  }
  // What is left out stands first: nobody looks for it below many photos.
  const bad = [...list.querySelectorAll(".bad")];
  // A row that is moved loses the focus.
  if (bad.some((row, place) => list.children[place] !== row)) list.prepend(...bad);
  dialog.querySelector("h2").textContent = answer.photos ? `Add ${plural(answer.photos, "photo")}` : "Add photos";
  price = answer.credits;
  const cost = tell("", "cost");
  const [words, sum] = answer.sentence.split(": ");
  cost.append(`${words}: `, Object.assign(document.createElement("strong"), { textContent: sum }));
  const lines = answer.photos ? [cost] : [];
  if (answer.rejected) lines.push(tell(`${plural(answer.rejected, "file")} would be rejected and ${answer.rejected === 1 ? "is" : "are"} left out.`, "wrong"));
  total.replaceChildren(...lines);
  ready(answer.photos > 0, answer.photos ? answer.price : "");
}

const later = settled(check, 350);

function drawLook() {
  const picked = [...form.querySelectorAll(".options input:checked")].filter((input) => input.value);
  const names = picked.map((input) => input.closest("label").querySelector(".name")?.textContent ?? plural(Number(input.value), "image"));
  dialog.querySelector("[data-look-now]").textContent = names.join(", ") || "the usual ones";
}

watchLook(form, () => { ready(false); drawLook(); later(); });
form.addEventListener("input", (event) => {
  if (event.target.matches("[type=text]")) { ready(false); later(); }
});

// Enter in a field has the list checked; what costs something is started by its button alone.
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("input")) return;
  event.preventDefault();
  if (phase === "choosing") check();
});

// --- the upload -----------------------------------------------------------------------------------

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (start.getAttribute("aria-disabled") === "true") return;
  if (phase === "failed") {
    await send(`${root}/uploads/${name}/retry`, token).then(follow, (error) => say(error.message));
    return;
  }
  if (price === null || phase !== "choosing") return;
  ready(false);
  // From here on, photos may be on their way: the list is neither discarded nor forgotten.
  phase = "starting";
  sessionStorage.setItem(KEY, name);
  try {
    const answer = await send(`${root}/uploads/${name}/start`, token, { ...request(), credits: price });
    follow(answer);
  } catch (error) {
    phase = "choosing";
    if (!error.lost) sessionStorage.removeItem(KEY);
    if (error.document?.rows) show(error.document);
    else if (error.lost) ready(true);
    total.prepend(tell(error.message, "wrong"));
  }
});

function follow(answer) {
  phase = "uploading";
  sessionStorage.setItem(KEY, name);
  for (const part of dialog.querySelectorAll("[data-before], .shut, .own")) part.hidden = true;
  dialog.querySelector("h2").textContent = "Adding photos";
  dialog.querySelector("[data-upload-lead]").textContent = "You may close this: the uploads go on for as long as the gallery runs.";
  discard.textContent = "Close";
  start.hidden = true;
  whole.hidden = false;
  dialog.scrollTop = 0;
  const there = new Set(answer.files.map(({ number }) => number));
  for (const [number, entry] of rows) if (!there.has(number)) { entry.row.remove(); rows.delete(number); }
  drawHead();
  progress(answer);
  poll();
}

async function poll() {
  let failures = 0;
  while (phase === "uploading") {
    await new Promise((done) => { setTimeout(done, 400 * 2 ** Math.min(failures, 4)); });
    try {
      progress(await get(`${root}/uploads/${name}`));
      failures = 0;
    } catch (error) {
      failures += 1;
      if (error.status === 404) { forget(); say(error.message); return; }
      total.replaceChildren(tell(`${error.message} It is asked again.`, "wrong"));
    }
  }
}

const WORDS = { waiting: "Waiting", uploading: "Uploading", retrying: "The connection is lost; it is tried again", done: "Uploaded", failed: "Not uploaded" };

function progress(answer) {
  let sent = 0;
  let size = 0;
  for (const file of answer.files) {
    let entry = rows.get(file.number);
    if (!entry) {
      entry = { number: file.number, path: file.path, state: "here", row: draw(file.number, file.path, null) };
      for (const part of entry.row.querySelectorAll(".shut, .own")) part.hidden = true;
      rows.set(file.number, entry);
    }
    const bar = entry.row.querySelector("progress");
    const under = file.state === "uploading" || file.state === "retrying";
    bar.hidden = !under;
    bar.setAttribute("aria-label", `Upload of ${file.path}`);
    bar.value = file.size ? file.sent / file.size : 1;
    entry.row.classList.toggle("done", file.state === "done");
    mark(entry, { look: WORDS[file.state], problem: file.state === "failed" ? file.why : "", note: file.state === "retrying" ? file.why : "" });
    sent += file.state === "done" ? file.size : file.sent;
    size += file.size;
  }
  whole.value = size ? sent / size : 1;
  total.replaceChildren(tell(answer.sentence, "cost"));
  if (answer.busy || !answer.started) return;
  if (answer.done) {
    phase = "done";
    sessionStorage.removeItem(KEY);
    dialog.querySelector("h2").textContent = "Photos added";
    dialog.querySelector("[data-upload-lead]").textContent = "Their images come in here by themselves.";
    whole.hidden = true;
    document.dispatchEvent(new Event("catwalk:added"));
    if (!dialog.open) say(answer.sentence);
  } else {
    phase = "failed";
    start.hidden = false;
    discard.textContent = "Discard the rest";
    start.replaceChildren("Try again");
    start.setAttribute("aria-disabled", "false");
  }
  drawHead();
}

// --- the end --------------------------------------------------------------------------------------

function forget() {
  sessionStorage.removeItem(KEY);
  for (const entry of rows.values()) entry.gone = true;
  rows = new Map();
  list.replaceChildren();
  name = null;
  phase = "choosing";
}

function reset() {
  forget();
  form.reset();
  for (const part of dialog.querySelectorAll("[data-before]")) part.hidden = false;
  dialog.querySelector("[data-upload-lead]").textContent = "Nothing is uploaded or charged before you start.";
  discard.textContent = "Discard";
  start.hidden = false;
  whole.hidden = true;
  ready(false);
  total.replaceChildren();
  drawLook();
  drawHead();
}

discard.addEventListener("click", () => {
  dialog.close();
  if (phase === "starting" || phase === "uploading") return;
  if (name !== null) send(`${root}/uploads/${name}/cancel`, token).catch(() => {});
  reset();
});

dialog.addEventListener("close", () => { if (phase === "done") reset(); });

// Photos that were chosen and not started yet are worth a question before the page is left.
addEventListener("beforeunload", (event) => { if (phase === "choosing" && rows.size) event.preventDefault(); });

const STARTS = 20;

/** After a reload, an upload that goes on, or that is about to start, is shown again. */
async function goOn(before) {
  for (let asked = 0; asked < STARTS && name === null; asked += 1) {
    const answer = await get(`${root}/uploads/${before}`).catch(() => null);
    if (name !== null) return;
    if (answer?.started) {
      name = before;
      follow(answer);
      return;
    }
    if (answer === null) break;
    await new Promise((done) => { setTimeout(done, 500); });
  }
  if (name === null) sessionStorage.removeItem(KEY);
}

const before = sessionStorage.getItem(KEY);
if (before) goOn(before);

// "Replace this photo" on a job's page leads here.
if (location.hash === "#upload") {
  history.replaceState(null, "", location.pathname + location.search);
  open();
}
