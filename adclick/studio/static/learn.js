/** The second step: learning, with its progress, as a run of Snakemake that outlives this page. */

import { byId, changed, counted, element, get, post, repeatedly, report, span, speak } from "./common.js";
import { onProject } from "./steps.js";

const REFRESH_MS = 1_500;
const TITLES = /** @type {Record<string, string>} */ ({
  running: "Learning",
  done: "Learnt",
  failed: "It failed",
  cancelled: "Cancelled; what is done is kept",
  interrupted: "It was interrupted; what is done is kept",
});

/** @type {string} */
let before = "";
/** @type {number[]} */
let losses = [];
let lossesOf = "";

/** @param {any} state */
function show(state) {
  const { run } = state;
  const running = run?.state === "running";
  byId("run-title").textContent = title(run);
  byId("run").dataset.state = run?.state ?? "none";
  bar(run, running);
  training(run?.training);
  stages(run?.stages ?? [], running);
  fault(run?.error);
  buttons(state, run, running);
  texts(state);
  if (run && run.state !== before) {
    if (before) changed();
    speak(TITLES[run.state]);
    before = run.state;
  }
}

/** @param {any} run */
function title(run) {
  if (!run) return "Nothing was learnt yet";
  if (run.ending) return "Ending what is being done";
  if (!run.total) {
    if (run.state === "running") return "Finding out what there is to do";
    if (run.state === "done") return "Everything is up to date";
  }
  return TITLES[run.state];
}

/** @param {any} run @param {boolean} running */
function bar(run, running) {
  byId("bar").hidden = !run || !run.total;
  if (!run) return;
  const share = /** @type {HTMLProgressElement} */ (byId("share"));
  share.value = run.share;
  byId("percent").textContent = `${Math.floor(100 * run.share)} %`;
  byId("steps-done").textContent = `${run.done} of ${run.total} steps`;
  const left = run.seconds_left === null ? "" : `about ${span(run.seconds_left)} left`;
  byId("left").textContent = running ? left || "finding out how long it takes" : `took ${span(run.seconds)}`;
}

/** @param {any} now */
function training(now) {
  byId("training").hidden = !now;
  if (!now) return;
  const key = `${now.steps}`;
  if (lossesOf !== key || now.step <= 1) losses = [];
  lossesOf = key;
  losses.push(now.loss);
  const last = losses.slice(-60);
  const [low, high] = [Math.min(...last), Math.max(...last)];
  const points = last.map((loss, index) => `${((120 * index) / Math.max(1, last.length - 1)).toFixed(1)},${(26 - (24 * (loss - low)) / (high - low || 1)).toFixed(1)}`);
  byId("curve").querySelector("polyline")?.setAttribute("points", points.join(" "));
  /** @type {HTMLElement} */ (byId("training").querySelector("span")).textContent = `Training${now.networks > 1 ? ` network ${now.network} of ${now.networks}` : ""}: step ${now.step} of ${now.steps}, loss ${now.loss.toPrecision(3)}`;
}

/** @param {any[]} all @param {boolean} running */
function stages(all, running) {
  const list = byId("stages");
  const key = JSON.stringify([all, running]);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(
    ...all.map((one) => {
      const state = one.done >= one.total ? "done" : one.begun > one.done ? (running ? "busy" : "stopped") : "waiting";
      const many = one.total > 1 ? ` (${one.done} of ${one.total})` : "";
      const words = { done: "done", busy: "in progress", stopped: "not finished", waiting: "to come" }[state];
      return element("li", { class: state }, element("i", { "aria-hidden": "true" }), `${one.words}${many}`, element("span", { class: "spoken" }, `: ${words}`));
    }),
  );
}

/** @param {any} error */
function fault(error) {
  byId("error").hidden = !error;
  if (!error) return;
  byId("error-line").textContent = error.line;
  byId("error-advice").textContent = error.advice;
}

/** @param {any} state @param {any} run @param {boolean} running */
function buttons(state, run, running) {
  const start = /** @type {HTMLButtonElement} */ (byId("start"));
  const again = run && ["failed", "cancelled", "interrupted"].includes(run.state);
  start.hidden = running;
  start.disabled = !state.exists;
  const fromLabels = state.stale || (run && !state.masks && !state.detector && state.labels >= state.fewest);
  start.textContent = again ? "Go on" : fromLabels ? "Learn from the labels" : run ? "Learn again what has changed" : "Learn";
  const toLearn = again || fromLabels || !run;
  start.classList.toggle("primary", toLearn);
  byId("unlock").hidden = !run?.error?.locked;
  byId("cancel").hidden = !running || run.ending;
  byId("log").hidden = !run;
  const next = state.detector && !state.stale ? ["/inspect", "Inspect"] : ["/label/", "Label"];
  byId("onward").hidden = !(state.masks ? state.detector : state.click_model);
  byId("onward").classList.toggle("primary", !toLearn && !running);
  byId("onward").setAttribute("href", next[0]);
  byId("onward").textContent = next[1];
}

/** @param {any} state */
function texts(state) {
  const lead = !state.exists
    ? "There is no project yet: choose photographs first."
    : "The computer compares every photograph with the normal ones most like it, and learns from defects that it makes up. You may close this page, and even the server: learning goes on.";
  byId("lead").textContent = lead;
  byId("clicks-text").textContent = state.masks
    ? "Not needed: this project has masks."
    : state.click_model
    ? "Learnt. It turns a few clicks on a defect into a mask: label with it."
    : "Turns a few clicks on a defect into a mask. It needs no labels: it learns from made-up defects in your normal photographs.";
  const labels = `${state.labels} of ${counted(state.to_label, "photograph")} labelled`;
  byId("fault").hidden = !state.fault;
  byId("fault").textContent = state.fault ? `Learning by itself is held up: ${state.fault}` : "";
  byId("detector-text").textContent = state.masks
    ? state.detector ? "Learnt from your masks. Inspect shows what it finds." : "Finds defects by itself. It learns from your masks."
    : state.detector
    ? state.stale
      ? `Learnt, but labels have changed since (${labels}). Learn again when you are done.`
      : `Learnt from your labels (${labels}). Inspect shows what it finds.`
    : state.labels >= state.fewest
      ? `Finds defects by itself. ${labels}: enough to learn from.`
      : `Finds defects by itself, once it has learnt from your labels: ${labels}, ${state.fewest} are the least, 10 are a good start.`;
  /** @type {HTMLInputElement} */ (byId("along")).checked = state.along;
  byId("command").textContent = `snakemake ${(state.targets.length ? state.targets : ["click_models"]).join(" ")} --configfile adclick.yaml`;
}

/** @param {string} route @param {object} [body] */
async function act(route, body) {
  for (const id of ["start", "unlock", "cancel"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = true;
  try {
    show(await post(`learning/${route}`, body));
    changed();
  } catch (error) {
    report(error);
  } finally {
    for (const id of ["start", "unlock", "cancel"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = false;
    now();
  }
}

byId("start").addEventListener("click", () => act("start"));
byId("unlock").addEventListener("click", () => act("start", { unlock: true }));
byId("along").addEventListener("change", () => act("along", { along: /** @type {HTMLInputElement} */ (byId("along")).checked }));
byId("cancel").addEventListener("click", () => act("cancel"));
onProject(({ folder }) => {
  byId("folder").textContent = folder;
  byId("shell").hidden = false;
});
const now = repeatedly(async () => show(await get("learning")), REFRESH_MS);
await now();
document.body.dataset.ready = "yes";
