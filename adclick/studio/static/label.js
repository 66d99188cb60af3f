/** The third step before there is a click model: waits for it, then shows the annotation page. */

import "./common.js";

document.addEventListener("project", (event) => {
  if (/** @type {CustomEvent} */ (event).detail.click_model) location.reload();
});
document.body.dataset.ready = "yes";
