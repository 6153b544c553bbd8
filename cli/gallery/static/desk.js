// What the desk's scripts share: sending something that changes things, and the pictures of looks.

/** Sends JSON or bytes to the gallery; throws with a sentence if that did not work. */
export async function send(url, token, body, { method = "POST", signal } = {}) {
  const bytes = body instanceof Blob;
  const headers = { "X-Catwalk-Token": token, Accept: "application/json" };
  if (!bytes) headers["Content-Type"] = "application/json";
  const answer = await fetch(url, { method, headers, signal, body: bytes ? body : JSON.stringify(body ?? {}) }).catch(() => null);
  if (answer === null) throw trouble("The gallery does not answer: was it ended?", { lost: true });
  return read(answer);
}

/** Asks the gallery for JSON; throws alike. */
export async function get(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer === null) throw trouble("The gallery does not answer: was it ended?", { lost: true });
  return read(answer);
}

async function read(answer) {
  if (answer.status === 204) return {};
  const json = answer.headers.get("content-type")?.includes("json");
  const document = json ? await answer.json() : {};
  if (answer.ok) return document;
  const sentence = answer.status === 403 && !document.message
    ? "The gallery was started anew: open the address in its terminal."
    : document.message ?? "The gallery could not do that; its terminal says more.";
  throw trouble(sentence, { status: answer.status, document, lost: [502, 503, 504].includes(answer.status) });
}

function trouble(sentence, more) {
  return Object.assign(new Error(sentence), more);
}

/** What a form of looks has chosen, as the server reads it. */
export function chosenLook(form) {
  const picked = (kind) => form.querySelector(`input[name$="-${kind}"]:checked`)?.value ?? "";
  const scene = picked("scene");
  const colour = form.querySelector("[data-colour]").value;
  return { model: picked("model"), scene: scene === "color" ? `color:${colour}` : scene, images: picked("images") };
}

/** Calls back whenever a form's look changes; choosing a colour chooses that background. */
export function watchLook(form, changed) {
  const colour = form.querySelector("[data-colour]");
  const take = () => { colour.closest(".tile").querySelector("[type=radio]").checked = true; changed(); };
  colour.addEventListener("input", take);
  colour.addEventListener("click", take);
  form.addEventListener("change", (event) => { if (event.target.matches("[type=radio]")) changed(); });
}

let faces;

/** Shows what each look was like the last time, where the stack has made images with it. */
export async function showFaces(dialog, root) {
  faces ??= get(`${root}/looks`);
  const pictures = await faces.catch(() => { faces = undefined; return {}; });
  for (const face of dialog.querySelectorAll("[data-face]")) {
    const path = pictures[face.dataset.face];
    if (!path || face.querySelector("img")) continue;
    const image = new Image();
    image.alt = "";
    image.decoding = "async";
    image.src = root + path;
    image.addEventListener("load", () => face.replaceChildren(image));
  }
}

/** Waits until a burst of calls is over. */
export function settled(work, pause = 180) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(work, pause); };
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
