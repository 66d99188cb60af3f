/** The third step before one can label: waits for the click model, then shows the annotation page. */

import { byId, get, repeatedly } from "./common.js";

const REFRESH_MS = 1_000;

const now = repeatedly(async () => {
  const { state, error } = await get("labelling");
  if (state === "ready") location.reload();
  byId("opening").hidden = state !== "opening" || Boolean(error);
  byId("not-yet").hidden = state !== "no model";
  byId("fault").hidden = !error;
  byId("fault").textContent = error ?? "";
}, REFRESH_MS);
await now();
document.body.dataset.ready = "yes";
