// Reviewing a job on its page: keys, and the jobs before and after it.

import { Marks, go } from "./marks.js";

const marks = new Marks(document.querySelector("#main"));
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
  } else if (marks.press(event)) event.preventDefault();
});
