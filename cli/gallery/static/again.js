// A job's page: the same dialog for one job.

import { shoot } from "./shoot.js";

document.querySelector("#main").addEventListener("click", (event) => {
  const button = event.target.closest("[data-shoot-one]");
  if (button) shoot([{ id: button.dataset.id, seen: button.dataset.seen }]);
});
