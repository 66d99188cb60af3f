/** The first step: choose or drop photographs, see what was found, make the project. */

import { byId, changed, counted, element, get, post, repeatedly, report, span, speak, tell, tellTaken, upload } from "./common.js";
import { onProject } from "./steps.js";

const REFRESH_MS = 700;
const KINDS = /** @type {const} */ (["normal", "defective"]);

/** @type {any} */
let shown = null;
let sending = 0;
let settled = false; // the user's own choice of texture and size is kept

/** @param {string} kind */
const card = (kind) => /** @type {HTMLElement} */ (document.querySelector(`.drop[data-kind=${kind}]`));

// --- what was found ------------------------------------------------------------------------------

/** @param {any} state */
function show(state) {
  shown = state;
  for (const kind of KINDS) {
    const chosen = /** @type {HTMLElement} */ (card(kind).querySelector(".chosen"));
    const folders = [state[kind], state.added[kind] && `what was added: ${state.added[kind]}`].filter(Boolean);
    chosen.textContent = folders.join(", and ") || "No folder chosen";
    chosen.classList.toggle("dim", !folders.length);
    /** @type {HTMLElement} */ (card(kind).querySelector(".clear")).hidden = !folders.length;
    samples(kind, state.found?.samples[kind] ?? []);
  }
  byId("looking").hidden = !state.looking;
  const bar = /** @type {HTMLProgressElement} */ (byId("looked"));
  if (state.of) {
    bar.max = state.of;
    bar.value = state.done;
  } else bar.removeAttribute("value");
  byId("looked-text").textContent = state.of ? `${state.done} of ${state.of}` : "";
  byId("fault").hidden = !state.error;
  byId("fault").textContent = state.error ?? "";
  byId("found").hidden = !state.found;
  if (state.found) findings(state.found, state.has);
  byId("masks").hidden = !state.has?.masks;
  byId("make").hidden = Boolean(state.has?.masks);
}

/** @param {string} kind @param {string[]} paths */
function samples(kind, paths) {
  const list = /** @type {HTMLElement} */ (card(kind).querySelector(".samples"));
  const key = paths.join("\n");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.hidden = !paths.length;
  list.replaceChildren(...paths.map((path) => element("li", {}, picture(path))));
}

/** @param {string} path */
function picture(path) {
  const name = path.split("/").pop() ?? path;
  return element("img", { src: `/api/v1/photographs/thumbnail?path=${encodeURIComponent(path)}`, alt: name, title: path, loading: "lazy" });
}

/** @param {any} found @param {any} has */
function findings(found, has) {
  const kinds = Object.entries(found.kinds).map(([name, count]) => `${count} ${name}`);
  const facts = [
    ["Normal", counted(found.normals, "photograph"), found.normals < found.least.normal ? `too few: ${found.least.normal} are the least, 50 and more are good` : ""],
    ["Defective", counted(found.defects, "photograph") + (kinds.length ? `: ${kinds.join(", ")}` : ""), found.defects < found.least.defective ? `too few to train a detector: ${found.least.defective} are the least, 10 are good` : ""],
    ["Size", found.sizes.replaceAll(" x ", " × "), ""],
    ["Place", found.aligned ? "always the same" : "the product lies now here, now there", ""],
  ];
  if (found.tests) facts.push(["For tests", counted(found.tests, "normal photograph"), "never trained on, nor used for the threshold"]);
  if (found.left_out.length) {
    const more = found.left_out.length > 5 ? ` and ${found.left_out.length - 5} more` : "";
    facts.push(["Left out", `${found.left_out.length}: ${found.left_out.slice(0, 5).join(", ")}${more}`, ""]);
  }
  for (const one of found.passed_over) {
    const more = one.count > one.names.length ? ` and ${one.count - one.names.length} more` : "";
    facts.push(["Passed over", `${one.count}: ${one.names.join(", ")}${more}`, one.what]);
  }
  for (const group of found.duplicates) facts.push(["Used once", group.join(" = "), "the same picture"]);
  for (const group of found.contradictory) facts.push(["Not used", group.join(" = "), "the same picture among normal and defective ones"]);
  const list = byId("facts");
  const key = JSON.stringify(facts);
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(
      ...facts.flatMap(([term, text, note]) => [
        element("dt", {}, term),
        element("dd", {}, text, ...(note ? [element("span", { class: "note" }, note)] : [])),
      ]),
    );
  }
  odd(found.odd);
  settings(found, has);
}

/** @param {any[]} suspects */
function odd(suspects) {
  byId("odd").hidden = !suspects.length;
  const list = byId("odd-list");
  const key = JSON.stringify(suspects);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const held = document.activeElement?.id;
  list.replaceChildren(
    ...suspects.slice(0, 12).map((one, index) => {
      const box = element("input", { type: "checkbox", id: `odd-${index}`, checked: one.left_out });
      box.addEventListener("change", async () => {
        try {
          show(await post("photographs/leave-out", { path: one.path, left_out: /** @type {HTMLInputElement} */ (box).checked }));
        } catch (error) {
          report(error);
        }
      });
      const image = element("span", { class: "framed" }, picture(one.path));
      const mark = element("i", { class: "spot", "aria-hidden": "true" });
      mark.style.left = `${100 * one.column}%`;
      mark.style.top = `${100 * one.row}%`;
      image.append(mark);
      return element("li", {}, element("label", {}, image, element("span", { class: "name" }, one.name), element("span", { class: "check" }, box, " leave out")));
    }),
  );
  if (held?.startsWith("odd-")) document.getElementById(held)?.focus();
}

/** What the project has comes first, else what is proposed. @param {any} found @param {any} has */
function settings(found, has) {
  const size = /** @type {HTMLSelectElement} */ (byId("size"));
  const square = (/** @type {number} */ px) => `${px} px`;
  const sizes = [{ value: String(found.size_px), name: square(found.size_px), cost: found.cost }];
  if (found.larger) {
    const [px, minutes] = found.larger;
    sizes.push({ value: String(px), name: `${square(px)}, for small defects`, cost: `about ${span(60 * minutes)} of computing here` });
  }
  if (found.kept) {
    const { scale, why, cost, proposed } = found.kept;
    const kept = { value: `scale ${scale}`, name: `shape kept, at ${scale} of its size`, cost: `${why}: ${cost}` };
    if (proposed) sizes.unshift(kept);
    else sizes.push(kept);
  }
  const now = has && (has.scale ? `scale ${has.scale}` : String(has.size_px));
  const proposed = sizes[0].value;
  if (has && !sizes.some(({ value }) => value === now)) {
    sizes.unshift({ value: now, name: has.scale ? `shape kept, at ${has.scale} of its size` : square(has.size_px), cost: "" });
  }
  const key = JSON.stringify([sizes, found.texture, has]);
  if (size.dataset.key !== key) {
    size.dataset.key = key;
    const own = settled ? size.value : "";
    size.replaceChildren(
      ...sizes.map(({ value, name, cost }) => element("option", { value, "data-cost": cost }, name + (value === now ? ", as it is now" : ""))),
    );
    size.value = own || now || proposed;
    if (size.selectedIndex < 0) size.selectedIndex = 0;
    if (!settled) /** @type {HTMLSelectElement} */ (byId("texture")).value = String(has?.texture ?? found.texture);
  }
  timeLine();
}

/** What is chosen: a square's side, or a scale. */
function sizeAsked() {
  const { value } = /** @type {HTMLSelectElement} */ (byId("size"));
  return value.startsWith("scale ") ? { scale: Number(value.slice(6)) } : { size_px: Number(value) };
}

function timeLine() {
  const size = /** @type {HTMLSelectElement} */ (byId("size"));
  const cost = size.selectedOptions[0]?.dataset.cost;
  byId("time").textContent = cost ? `Before you label, the click model learns; afterwards, the detector. Together: ${cost}.` : "";
}

// --- folders -------------------------------------------------------------------------------------

let choosing = "normal";

/** @param {string} kind */
async function openFolders(kind) {
  choosing = kind;
  byId("folders-title").textContent = `Choose a folder of ${kind} photographs`;
  const before = shown?.[kind] ?? shown?.[kind === "normal" ? "defective" : "normal"];
  byId("folder-list").replaceChildren();
  await visit(before ?? "");
  if (!byId("folder-list").children.length) await visit(""); // the one that was chosen is gone
  /** @type {HTMLDialogElement} */ (byId("folders")).showModal();
}

/** @param {string} path */
async function visit(path) {
  const inList = byId("folder-list").contains(document.activeElement);
  try {
    const here = await get(`folders${path ? `?path=${encodeURIComponent(path)}` : ""}`);
    const up = here.parent ? [element("li", {}, element("button", { type: "button", onclick: () => visit(here.parent) }, "↑ the folder above"))] : [];
    /** @type {HTMLInputElement} */ (byId("path")).value = here.path;
    byId("folder-list").replaceChildren(
      ...up,
      ...here.folders.map((/** @type {string} */ name) =>
        element("li", {}, element("button", { type: "button", onclick: () => visit(`${here.path === "/" ? "" : here.path}/${name}`) }, name)),
      ),
    );
    const more = here.more ? ` (${here.more} more are not listed: type the path)` : "";
    byId("folder-note").textContent = `${counted(here.folders.length, "folder")}${more}, ${counted(here.pictures, "picture")} directly in it`;
    if (inList) byId("folder-list").querySelector("button")?.focus();
  } catch (error) {
    byId("folder-note").textContent = error instanceof Error ? error.message : String(error);
  }
}

async function takeFolder() {
  try {
    show(await post("photographs/choose", { [choosing]: /** @type {HTMLInputElement} */ (byId("path")).value }));
  } catch (error) {
    report(error);
  }
}

// --- files ---------------------------------------------------------------------------------------

/**
 * The files of what was dropped, with the folder that says of which kind each is: the first below
 * the one that was dropped, as in a folder that is chosen; else that one.
 * @param {DataTransferItemList} items
 */
async function dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  /** @type {{file: File, folder: string}[]} */
  const found = [];
  for (const entry of entries) await collect(entry, [], found);
  return found;
}

/** @param {any} entry @param {string[]} above @param {{file: File, folder: string}[]} found */
async function collect(entry, above, found) {
  if (entry.name.startsWith(".")) return;
  if (entry.isFile) {
    found.push({ file: await new Promise((done, failed) => entry.file(done, failed)), folder: above[1] ?? above[0] ?? "" });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!part.length) return;
    for (const one of part) await collect(one, [...above, entry.name], found);
  }
}

/** @param {string} kind @param {{file: File, folder: string}[]} files */
async function send(kind, files) {
  const refused = [];
  const kinds = new Set();
  sending += 1;
  for (const [index, { file, folder }] of files.entries()) {
    tell(`Taking ${index + 1} of ${files.length}: ${file.name}`);
    const own = kind === "normal" ? "good" : folder || "defect";
    if (kind === "defective" && own === "good") {
      refused.push(`${file.name}: its folder is called good, which is what normal ones are called`);
      continue;
    }
    try {
      await upload(`photographs?kind=${encodeURIComponent(own)}&name=${encodeURIComponent(file.name)}`, file);
      kinds.add(own);
    } catch (error) {
      refused.push(error instanceof Error ? error.message : String(error));
    }
  }
  sending -= 1;
  if (kinds.size) {
    show(await post("photographs/added", { kinds: [...kinds] }));
  }
  tellTaken(files.length, refused);
}

/** @param {string} kind */
function wireCard(kind) {
  const one = card(kind);
  /** @type {HTMLElement} */ (one.querySelector(".choose")).addEventListener("click", () => openFolders(kind));
  /** @type {HTMLElement} */ (one.querySelector(".clear")).addEventListener("click", async () => {
    try {
      show(await post("photographs/clear", { kind }));
    } catch (error) {
      report(error);
    }
  });
  const input = /** @type {HTMLInputElement} */ (one.querySelector("input[type=file]"));
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])].map((file) => ({ file, folder: "" }));
    input.value = "";
    send(kind, files).catch(report);
  });
  one.addEventListener("dragover", (event) => {
    event.preventDefault();
    one.classList.add("dropping");
  });
  one.addEventListener("dragleave", () => one.classList.remove("dropping"));
  one.addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    one.classList.remove("dropping");
    if (!event.dataTransfer) return;
    try {
      await send(kind, await dropped(event.dataTransfer.items));
    } catch (error) {
      report(error);
    }
  });
}

// --- the project ---------------------------------------------------------------------------------

async function make() {
  const button = /** @type {HTMLButtonElement} */ (byId("make"));
  button.disabled = true;
  try {
    await post("project", {
      ...sizeAsked(),
      texture: /** @type {HTMLSelectElement} */ (byId("texture")).value === "true",
      backbone: /** @type {HTMLInputElement} */ (byId("backbone")).value.trim() || null,
    });
    changed();
    tell("The project is made. Learn is next.");
    speak("The project is made. Learn is next.");
    byId("onward").hidden = false;
    byId("onward").focus();
  } catch (error) {
    report(error);
  } finally {
    button.disabled = false;
  }
}

async function refresh() {
  if (sending) return;
  const state = await get("photographs");
  if (JSON.stringify(state) !== JSON.stringify(shown)) show(state);
}

for (const kind of KINDS) wireCard(kind);
byId("make").addEventListener("click", make);
byId("texture").addEventListener("change", () => (settled = true));
byId("size").addEventListener("change", () => {
  settled = true;
  timeLine();
});
window.addEventListener("beforeunload", (event) => {
  if (sending) event.preventDefault(); // the browser asks whether to leave: not all are taken
});
byId("path").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    visit(/** @type {HTMLInputElement} */ (byId("path")).value);
  }
});
byId("folders").addEventListener("close", () => {
  if (/** @type {HTMLDialogElement} */ (byId("folders")).returnValue === "take") takeFolder();
});
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
onProject((project) => {
  byId("make").textContent = project.exists ? "Take these photographs" : "Make the project";
  byId("onward").hidden = !project.exists;
});
const now = repeatedly(refresh, REFRESH_MS);
await now();
document.body.dataset.ready = "yes";
