/** The way through the steps: what each of them has so far, in a word or two. */

const REFRESH_MS = 4_000;

/** @param {string} step */
const link = (step) =>
  /** @type {HTMLElement} */ (document.querySelector(`#steps [data-step=${step}]`));

/** @param {string} step @param {string} note @param {"done" | "busy" | ""} state */
function show(step, note, state) {
  const shown = link(step);
  /** @type {HTMLElement} */ (shown.querySelector(".note")).textContent = note;
  shown.classList.toggle("done", state === "done");
  shown.classList.toggle("busy", state === "busy");
}

/** @param {any} project */
function update(project) {
  const { photographs, running, labels, to_label: toLabel } = project;
  const found = photographs && `${photographs.normal} normal, ${photographs.defective} defective`;
  show("photographs", found ?? "none yet", found ? "done" : "");
  const learnt = project.detector ? "detector" : project.click_model ? "click model" : "nothing yet";
  show("learn", running ? "in progress" : learnt, running ? "busy" : project.detector ? "done" : "");
  const all = toLabel > 0 && labels >= toLabel;
  show("label", toLabel ? `${labels} of ${toLabel}` : "", all ? "done" : "");
  show("inspect", project.detector ? "ready" : "", "");
  latest = project;
  for (const listener of listeners) listener(project);
}

/** @type {any} */
let latest = null;
/** @type {((project: any) => void)[]} */
const listeners = [];

/**
 * Tell what is known of the project, now where it is known, and whenever it is asked for again.
 * @param {(project: any) => void} listener
 */
export function onProject(listener) {
  listeners.push(listener);
  if (latest) listener(latest);
}

async function refresh() {
  let project = null;
  try {
    const answer = await fetch("/api/v1/project", { credentials: "same-origin" });
    if (answer.ok) project = await answer.json();
  } catch {
    // the page itself says that the server is away
  }
  if (project) update(project);
}

refresh();
setInterval(refresh, REFRESH_MS);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
document.addEventListener("changed", refresh);
