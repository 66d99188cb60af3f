/** The fifth step: detector, labels and report as files. */

import { byId, element, get, post, repeatedly, report, speak } from "./common.js";
import { onProject } from "./steps.js";

const REFRESH_MS = 1_500;
const WORDS = /** @type {Record<string, [string, string, string]>} */ ({
  model: ["The detector", "A folder for adclick predict, on any machine.", "adclick predict --model MODEL --images photos --output found"],
  onnx: ["The detector as ONNX", "Runs with onnxruntime and numpy alone, without adclick.", ""],
  report: ["The report", "One HTML file with numbers and pictures.", ""],
  "labels-mvtec": ["Labels as MVTec AD", "test/<kind> and ground_truth/<kind>, which anomalib reads as well.", ""],
  "labels-anomalib": ["Labels for anomalib", "The same, and a CSV with the columns of its tabular data.", ""],
  "labels-coco": ["Labels as COCO", "Annotations with run-length masks, and images; CVAT and FiftyOne read it.", ""],
  "labels-yolo": ["Labels as YOLO", "Polygons that lose nothing.", ""],
  "labels-png": ["Labels as PNG", "Masks, index masks of the kinds, and classes.json.", ""],
});
const NEEDS_LABELS = /^labels-/;

/** @type {any} */
let project = null;
let said = "";

/** @param {number} bytes */
const size = (bytes) => (bytes > 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`);

/** @param {any} state */
function show(state) {
  byId("folder").textContent = state.folder;
  const list = byId("exports");
  const busy = state.exports.some((/** @type {any} */ one) => one.making);
  const key = JSON.stringify([state, project?.detector, project?.labels]);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const held = document.activeElement instanceof HTMLElement ? document.activeElement.id : "";
  list.replaceChildren(...state.exports.map((/** @type {any} */ one) => item(one, busy)));
  if (held) document.getElementById(held)?.focus();
  const making = state.exports.find((/** @type {any} */ one) => one.making);
  const line = making ? `Making ${WORDS[making.what][0]}.` : said ? "Done." : "";
  if (line !== said) speak(line);
  said = line;
}

/** @param {any} one @param {boolean} busy */
function item(one, busy) {
  const [title, text, command] = WORDS[one.what] ?? [one.what, "", ""];
  const labels = NEEDS_LABELS.test(one.what);
  const lacks = !project ? "" : labels ? (project.labels ? "" : "Label something first.") : project.detector ? "" : "Needs a detector: label, then learn.";
  const made = one.made ? `${one.place}, ${one.made}, ${size(one.bytes)}` : "";
  const actions = element("div", { class: "actions" });
  actions.append(
    element("button", { id: `make-${one.what}`, "aria-label": `${one.made ? "Make again" : "Make"}: ${title}`, disabled: busy || Boolean(lacks), class: one.made ? "" : "primary", onclick: () => make(one.what) }, one.making ? "Being made" : one.made ? "Make again" : "Make"),
  );
  if (one.made) {
    const report = one.what === "report";
    actions.append(element("a", { id: `fetch-${one.what}`, class: "button", href: `/api/v1/exports/${one.what}`, "aria-label": `${report ? "Open" : "Download"}: ${title}`, ...(report ? { target: "_blank", rel: "noopener" } : {}) }, report ? "Open" : "Download"));
  }
  return element(
    "li",
    { class: "card" },
    element("h2", {}, title),
    element("p", {}, text),
    ...(one.made && command ? [element("p", {}, element("code", {}, command.replace("MODEL", one.place)))] : []),
    ...(made ? [element("p", { class: "dim place" }, made)] : []),
    ...(lacks ? [element("p", { class: "dim" }, lacks)] : []),
    ...(one.error ? [element("p", { class: "fault", role: "alert" }, one.error)] : []),
    ...(one.making ? [element("progress", { "aria-label": `Making ${title}` })] : []),
    actions,
  );
}

/** @param {string} what */
async function make(what) {
  try {
    show(await post(`exports/${what}`));
  } catch (error) {
    report(error);
  }
}

const now = repeatedly(async () => {
  if (project && !project.exists) byId("exports").replaceChildren(element("li", { class: "card" }, element("p", {}, "There is no project yet: choose photographs first.")));
  else show(await get("exports"));
}, REFRESH_MS);
onProject((known) => {
  project = known;
  now();
});
await now();
document.body.dataset.ready = "yes";
