/** The fourth step: what the detector finds, and what a threshold would make of it. */

import { byId, counted, element, fetched, get, repeatedly, report, tell, tellTaken, upload } from "./common.js";
import { memory } from "/label/memory.js";

const REFRESH_MS = 2_000;
const LEVELS = 65_535;
const MARK = [255, 59, 154];
const LEAST_SHOWN_PX = 1_000; // small photographs are drawn larger, so that lines over them are fine

/** @typedef {{side: number, values: Uint16Array}} AnomalyMap */
/** @type {any} */
let state = null;
/** @type {number | null} */
let threshold = null;
let movedByHand = false;
/** @type {string | null} */
let current = null;
let chosen = false; // by hand; until then the highest score is shown
let over = memory.get("over") ?? "map";
let opacity = Number(memory.get("map-opacity") ?? 0.55);
/** @type {Map<string, AnomalyMap>} */
const smallMaps = new Map();
/** @type {{key: string, picture: ImageBitmap | null, map: AnomalyMap | null, label: ImageBitmap | null} | null} */
let viewed = null;

const group = () => /** @type {HTMLInputElement} */ (document.querySelector("[name=group]:checked")).value;
/** @param {any} row */
const isFresh = (row) => !row.trained;
/** @param {any} row @param {string} which */
const belongs = (row, which) => (which === "fresh" ? isFresh(row) : which === "normal" ? isNormal(row) : row.group === which);
/** Held out, or for tests alone. @param {any} row */
const isNormal = (row) => row.group === "normal" || row.group === "test";
/** What slider and histogram end at: scores of a detector may all be small. */
let top = 1;
/** @param {number} score */
const shownScore = (score) => score.toFixed(top < 0.15 ? 4 : 3);
/** @param {any} row */
const isMarked = (row) => row.score !== null && threshold !== null && row.score > threshold;
/** The verdict in a word; none where nothing decides: no photographs were held out. @param {any} row */
const word = (row) => (state.decides || movedByHand ? (isMarked(row) ? "defective" : "normal") : "");

// --- what the server knows -----------------------------------------------------------------------

/** @param {any} news */
function update(news) {
  const first = state === null || state.identity !== news.identity;
  if (first) {
    smallMaps.clear();
    tiles.clear();
    viewed = null;
    movedByHand = false;
  }
  state = news;
  byId("opening").hidden = !news.opening;
  byId("no-detector").hidden = news.detector || news.opening;
  byId("inspect").hidden = !news.detector;
  if (!news.detector) return;
  setTop();
  if (!movedByHand) setThreshold(news.threshold);
  counts();
  gallery();
  consequences();
  histogram();
  const there = news.pictures.some((/** @type {any} */ row) => row.key === current);
  const highest = sorted()[0]?.key;
  if (highest && highest !== current && !(chosen && there)) show(highest);
  else if (current && (viewed?.key !== current || (!viewed.map && viewed.picture))) look(current);
  draw();
}

function counts() {
  for (const input of document.querySelectorAll("[name=group]")) {
    const which = /** @type {HTMLInputElement} */ (input).value;
    const count = state.pictures.filter((/** @type {any} */ row) => belongs(row, which)).length;
    /** @type {HTMLElement} */ (input.parentElement?.querySelector("i")).textContent = String(count);
  }
  const open = state.pictures.filter((/** @type {any} */ row) => row.score === null && !row.broken).length;
  byId("waiting").textContent = open ? `Looking at ${counted(open, "more photograph")}.` : "";
  byId("advice").textContent = [state.model, state.advice].filter(Boolean).join(" · ");
}

/** Rows that are shown, highest score first; those without one last. */
function sorted() {
  return state.pictures
    .filter((/** @type {any} */ row) => belongs(row, group()))
    .sort((/** @type {any} */ one, /** @type {any} */ other) => (other.score ?? -1) - (one.score ?? -1) || one.key.localeCompare(other.key));
}

// --- the threshold and what it means -------------------------------------------------------------

function setTop() {
  const scores = state.pictures.map((/** @type {any} */ row) => row.score ?? 0);
  const wanted = Math.min(1, Math.max(1.2 * Math.max(0, ...scores), 1.5 * state.threshold));
  if (wanted <= 0 || (wanted <= top && wanted > 0.6 * top)) return; // a scale that moves little stays
  top = wanted;
  const input = /** @type {HTMLInputElement} */ (byId("threshold"));
  input.max = String(top);
  input.step = String(top / 1000);
}

/** @param {number} value */
function setThreshold(value) {
  threshold = Math.min(1, Math.max(0, value));
  const input = /** @type {HTMLInputElement} */ (byId("threshold"));
  input.value = String(threshold);
  byId("threshold-value").textContent = shownScore(threshold);
  input.setAttribute("aria-valuetext", shownScore(threshold));
}

function moved() {
  movedByHand = true;
  setThreshold(Number(/** @type {HTMLInputElement} */ (byId("threshold")).value));
  consequences();
  for (const item of byId("gallery").children) verdict(/** @type {HTMLElement} */ (item));
  drawTiles();
  draw();
  histogram();
}

function consequences() {
  const [held, tests] = ["normal", "test"].map((which) => state.pictures.filter((/** @type {any} */ row) => row.group === which && row.score !== null));
  const alarms = [tests.length ? said(tests, "", " for tests") : "", held.length ? said(held, "held-out ", "") : ""].filter(Boolean);
  const waiting = state.pictures.filter((/** @type {any} */ row) => isNormal(row) && !row.broken).length;
  const measured = tests.length ? tests : held;
  byId("false-alarms").textContent = measured.length ? `${((100 * measured.filter(isMarked).length) / measured.length).toFixed(1)} %` : "unknown";
  byId("false-alarms-text").textContent = alarms.length ? ` false alarms: ${alarms.join("; ")}` : waiting ? ` yet: ${counted(waiting, "normal photograph")} to be looked at` : ": no normal photograph was held out";
  /** @param {any[]} rows @param {string} before @param {string} after */
  function said(rows, before, after) {
    return `${rows.filter(isMarked).length} of ${counted(rows.length, `${before}normal photograph${after}`, `${before}normal photographs${after}`)}`;
  }
  const labelled = state.pictures.filter((/** @type {any} */ row) => row.labelled);
  const peaks = labelled.flatMap((/** @type {any} */ row) => row.labelled);
  const lost = peaks.filter((/** @type {number} */ peak) => threshold !== null && peak <= threshold).length;
  const learnt = labelled.some((/** @type {any} */ row) => row.trained);
  byId("missed-line").hidden = !peaks.length;
  byId("missed").textContent = `${lost}`;
  byId("missed-text").textContent = ` of ${counted(peaks.length, "labelled defect")} missed${learnt ? " (it learnt from these: new ones are harder)" : ""}`;
}

function histogram() {
  const chart = byId("histogram");
  const bins = 60;
  const kinds = { normal: new Array(bins).fill(0), defective: new Array(bins).fill(0) };
  for (const row of state.pictures) {
    const kind = isNormal(row) ? "normal" : row.group;
    if (row.score === null || !(kind in kinds)) continue;
    kinds[/** @type {"normal" | "defective"} */ (kind)][Math.min(bins - 1, Math.floor((row.score * bins) / top))] += 1;
  }
  const highest = Math.max(1, ...kinds.normal, ...kinds.defective);
  const parts = [];
  for (const [kind, values] of Object.entries(kinds)) {
    values.forEach((count, index) => {
      if (!count) return;
      const height = Math.max(2, (18 * count) / highest);
      const y = kind === "defective" ? 22 - height : 23;
      parts.push(`<rect class="${kind}" x="${(300 * index) / bins}" width="${300 / bins - 0.7}" y="${y}" height="${height}" />`);
    });
  }
  const x = (300 * (threshold ?? 0)) / top;
  chart.innerHTML = `${parts.join("")}<line x1="${x}" x2="${x}" y1="0" y2="44" />`;
}

// --- the gallery ---------------------------------------------------------------------------------

function gallery() {
  const rows = sorted();
  const list = byId("gallery");
  byId("empty").hidden = rows.length > 0;
  const key = JSON.stringify(rows.map((/** @type {any} */ row) => [row.key, row.score, row.broken, row.trained]));
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    const held = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.key : undefined;
    list.replaceChildren(...rows.map(tileOf));
    if (held) list.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
  }
  for (const item of list.children) verdict(/** @type {HTMLElement} */ (item));
  drawTiles();
}

/** @type {Map<string, {facts: string, item: HTMLElement}>} */
const tiles = new Map();

/** The tile that is there where only the score is another: its photograph is not fetched again. @param {any} row */
function tileOf(row) {
  const facts = JSON.stringify([row.broken, row.trained, row.group]);
  const held = tiles.get(row.key);
  if (held?.facts === facts) return held.item;
  const item = tile(row);
  tiles.set(row.key, { facts, item });
  return item;
}

/** @param {any} row */
function tile(row) {
  const address = `/api/v1/inspection/picture?small=true&key=${encodeURIComponent(row.key)}`;
  const image = element("span", { class: "framed" });
  if (!row.broken) {
    const shown = /** @type {HTMLImageElement} */ (element("img", { src: address, alt: "", loading: "lazy" }));
    const fitted = element("span", { class: "fitted" }, shown, element("canvas", { "aria-hidden": "true" }));
    shown.addEventListener("load", () => {
      const wide = shown.naturalWidth / shown.naturalHeight;
      fitted.style.width = `${Math.min(100, 100 * wide)}%`;
      fitted.style.height = `${Math.min(100, 100 / wide)}%`;
    });
    image.append(fitted);
  }
  const kind = row.group === "defective" ? row.kind : row.group === "normal" ? "normal" : row.group === "test" ? "normal, for tests" : "new";
  const note = row.broken ?? (row.trained ? `${kind}, trained on` : kind);
  const button = element(
    "button",
    { "data-key": row.key, title: row.key, onclick: () => choose(row.key) },
    image,
    element("span", { class: "name" }, row.name),
    element("span", { class: "note" }, note),
    element("span", { class: "verdict" }),
  );
  return element("li", {}, button);
}

/** @param {HTMLElement} item */
function verdict(item) {
  const button = /** @type {HTMLElement} */ (item.firstElementChild);
  const row = state.pictures.find((/** @type {any} */ one) => one.key === button.dataset.key);
  if (!row) return;
  const words = row.broken ? "cannot be read" : row.score === null ? "waiting" : `${shownScore(row.score)} ${word(row)}`;
  /** @type {HTMLElement} */ (button.querySelector(".verdict")).textContent = words;
  button.classList.toggle("marked", isMarked(row));
  button.setAttribute("aria-current", String(row.key === current));
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) fetchSmall(/** @type {HTMLElement} */ (entry.target));
});
const asked = new Set();

/** @param {HTMLElement} canvas */
async function fetchSmall(canvas) {
  const key = canvas.closest("button")?.dataset.key ?? "";
  if (smallMaps.has(key) || asked.has(key)) return;
  asked.add(key);
  try {
    smallMaps.set(key, await mapOf(key, true));
    paintTile(/** @type {HTMLCanvasElement} */ (canvas));
  } catch {
    // not made yet: asked for again when it is
  } finally {
    asked.delete(key);
  }
}

function drawTiles() {
  for (const canvas of byId("gallery").querySelectorAll("canvas")) {
    const key = canvas.closest("button")?.dataset.key ?? "";
    if (smallMaps.has(key)) paintTile(canvas);
    else if (state.pictures.find((/** @type {any} */ row) => row.key === key)?.score !== null) {
      sight.unobserve(canvas); // so that it is told anew whether it is seen
      sight.observe(canvas);
    }
  }
}

/** @param {HTMLCanvasElement} canvas */
function paintTile(canvas) {
  const found = smallMaps.get(canvas.closest("button")?.dataset.key ?? "");
  if (!found || threshold === null) return;
  canvas.width = canvas.height = found.side;
  const pixels = new ImageData(found.side, found.side);
  const level = threshold * LEVELS;
  found.values.forEach((value, place) => {
    if (value > level) pixels.data.set([...MARK, 190], 4 * place);
  });
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
}

/** @param {string} key @param {boolean} small @returns {Promise<AnomalyMap>} */
async function mapOf(key, small) {
  const answer = await fetched(`inspection/map?key=${encodeURIComponent(key)}${small ? "&small=true" : ""}`);
  const values = new Uint16Array(await answer.arrayBuffer());
  return { side: Number(answer.headers.get("x-side")), values };
}

// --- the chosen photograph -----------------------------------------------------------------------

/** @param {string} key */
function choose(key) {
  chosen = true;
  show(key);
}

/** @param {string} key */
function show(key) {
  current = key;
  for (const item of byId("gallery").children) verdict(/** @type {HTMLElement} */ (item));
  look(key);
}

let looking = "";

/** Fetch what is shown of a photograph; not twice at once. @param {string} key */
async function look(key) {
  const asking = `${state.identity} ${key}`;
  if (looking === asking) return;
  looking = asking;
  try {
    await fetchView(key);
  } finally {
    if (looking === asking) looking = "";
  }
}

/** @param {string} key */
async function fetchView(key) {
  const row = state.pictures.find((/** @type {any} */ one) => one.key === key);
  if (!row) return;
  byId("view-name").textContent = row.name;
  byId("view-note").textContent = row.broken ?? "";
  if (row.broken) {
    viewed = { key, picture: null, map: null, label: null };
    draw();
    return;
  }
  const { identity } = state;
  try {
    const held = viewed?.key === key ? viewed : null;
    const picture = held?.picture ?? (await bitmap(`inspection/picture?key=${encodeURIComponent(key)}`));
    const map = row.score === null ? null : await mapOf(key, false).catch(() => null);
    const label = row.labelled ? await bitmap(`inspection/label?key=${encodeURIComponent(key)}`).catch(() => null) : null;
    if (current !== key || state.identity !== identity) return;
    viewed = { key, picture, map, label };
    draw();
  } catch (error) {
    report(error);
  }
}

/** @param {string} route */
async function bitmap(route) {
  return createImageBitmap(await (await fetched(route)).blob());
}

function draw() {
  const canvas = /** @type {HTMLCanvasElement} */ (byId("view"));
  const row = state?.pictures.find((/** @type {any} */ one) => one.key === current);
  const head = byId("view-verdict");
  head.textContent = !row || row.score === null ? "" : [shownScore(row.score), word(row)].filter(Boolean).join(": ");
  head.classList.toggle("marked", Boolean(row && isMarked(row)));
  canvas.hidden = !viewed?.picture || viewed.key !== row?.key;
  if (!viewed?.picture || viewed.key !== row?.key) return;
  const { picture, map, label } = viewed;
  const finer = Math.max(1, LEAST_SHOWN_PX / Math.max(picture.width, picture.height));
  canvas.width = Math.round(finer * picture.width);
  canvas.height = Math.round(finer * picture.height);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (map && over !== "nothing") {
    if (over === "map") {
      context.globalAlpha = opacity;
      context.drawImage(heat(map), 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    }
    outline(context, map, canvas.width, canvas.height);
  }
  if (label && over !== "nothing") outlineOfLabel(context, label, canvas.width, canvas.height);
  byId("view-note").textContent = map ? (label ? "Pink: marked. Blue, dashed: your label." : "Pink: marked.") : "This one is being looked at.";
  canvas.setAttribute("aria-label", `${row.name}, score ${row.score === null ? "not known yet" : shownScore(row.score)}`);
}

const RAMP = [[13, 8, 48, 0], [87, 16, 110, 120], [188, 55, 84, 190], [249, 142, 9, 225], [252, 255, 164, 245]];

/** The map as colours, clear where it is low; the threshold is in the middle of them. @param {AnomalyMap} map */
function heat(map) {
  const made = new OffscreenCanvas(map.side, map.side);
  const pixels = new ImageData(map.side, map.side);
  const middle = Math.max(threshold ?? 0.5, 1 / LEVELS);
  map.values.forEach((value, place) => {
    const at = Math.min(1, (0.5 * value) / LEVELS / middle) * (RAMP.length - 1);
    const low = Math.min(RAMP.length - 2, Math.floor(at));
    for (let band = 0; band < 4; band++) {
      pixels.data[4 * place + band] = RAMP[low][band] + (at - low) * (RAMP[low + 1][band] - RAMP[low][band]);
    }
  });
  made.getContext("2d")?.putImageData(pixels, 0, 0);
  return made;
}

/** Lines along the level, between the map's values. @param {CanvasRenderingContext2D} context @param {AnomalyMap} map @param {number} width @param {number} height */
function outline(context, map, width, height) {
  const level = (threshold ?? 1) * LEVELS;
  const { side, values } = map;
  const [sx, sy] = [width / side, height / side];
  context.beginPath();
  for (let row = -1; row < side; row++) {
    for (let column = -1; column < side; column++) cell(context, at, level, row, column, sx, sy);
  }
  /** @param {number} row @param {number} column */
  function at(row, column) {
    return row < 0 || column < 0 || row >= side || column >= side ? 0 : values[row * side + column];
  }
  stroke(context, `rgb(${MARK})`, Math.max(width, height));
}

/**
 * The level's line within the square between four values (marching squares).
 * @param {CanvasRenderingContext2D} context
 * @param {(row: number, column: number) => number} at
 * @param {number} level
 * @param {number} row
 * @param {number} column
 * @param {number} sx
 * @param {number} sy
 */
function cell(context, at, level, row, column, sx, sy) {
  const corners = [at(row, column), at(row, column + 1), at(row + 1, column + 1), at(row + 1, column)];
  const above = corners.map((value) => value > level);
  if (above.every(Boolean) || !above.some(Boolean)) return;
  const places = [[row, column], [row, column + 1], [row + 1, column + 1], [row + 1, column]];
  const crossings = [];
  for (let side = 0; side < 4; side++) {
    const next = (side + 1) % 4;
    if (above[side] === above[next]) continue;
    const share = (level - corners[side]) / (corners[next] - corners[side]);
    const y = places[side][0] + share * (places[next][0] - places[side][0]);
    const x = places[side][1] + share * (places[next][1] - places[side][1]);
    crossings.push([(x + 0.5) * sx, (y + 0.5) * sy]);
  }
  for (let place = 0; place + 1 < crossings.length; place += 2) {
    context.moveTo(crossings[place][0], crossings[place][1]);
    context.lineTo(crossings[place + 1][0], crossings[place + 1][1]);
  }
}

/** @param {CanvasRenderingContext2D} context @param {ImageBitmap} label @param {number} width @param {number} height */
function outlineOfLabel(context, label, width, height) {
  const side = 256;
  const small = new OffscreenCanvas(side, side);
  const drawing = /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext("2d", { willReadFrequently: true }));
  drawing.drawImage(label, 0, 0, side, side);
  const pixels = drawing.getImageData(0, 0, side, side).data;
  /** @param {number} row @param {number} column */
  const at = (row, column) => (row < 0 || column < 0 || row >= side || column >= side ? 0 : pixels[4 * (row * side + column)]);
  context.beginPath();
  for (let row = -1; row < side; row++) {
    for (let column = -1; column < side; column++) cell(context, at, 127, row, column, width / side, height / side);
  }
  context.setLineDash([Math.max(width, height) / 90, Math.max(width, height) / 140]);
  stroke(context, "#3d8bff", Math.max(width, height));
  context.setLineDash([]);
}

/** @param {CanvasRenderingContext2D} context @param {string} colour @param {number} width */
function stroke(context, colour, width) {
  context.lineCap = "round";
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.lineWidth = Math.max(2.5, width / 150);
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = Math.max(1.5, width / 260);
  context.stroke();
}

// --- wiring --------------------------------------------------------------------------------------

/** @param {File[]} files */
async function drop(files) {
  if (!files.length) return;
  const refused = [];
  let last = null;
  for (const [index, file] of files.entries()) {
    tell(`Taking ${index + 1} of ${files.length}: ${file.name}`);
    try {
      const { key } = await upload(`inspection?name=${encodeURIComponent(file.name)}`, file);
      last = key;
      chosen = true;
      const fresh = /** @type {HTMLInputElement} */ (document.querySelector("[name=group][value=new]"));
      fresh.checked = true;
    } catch (error) {
      refused.push(error instanceof Error ? error.message : String(error));
    }
  }
  tellTaken(files.length, refused);
  await now();
  if (last) choose(last); // what was asked for before may have chosen another
}

/** @param {string} next */
function setOver(next) {
  over = next;
  memory.set("over", next);
  for (const button of document.querySelectorAll("[data-over]")) {
    button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.over === next));
  }
  draw();
}

/** @param {number} value */
function setOpacity(value) {
  opacity = value;
  /** @type {HTMLInputElement} */ (byId("opacity")).value = String(value);
  byId("opacity-value").textContent = `${Math.round(100 * value)} %`;
  memory.set("map-opacity", String(value));
  draw();
}

byId("threshold").addEventListener("input", moved);
byId("reset").addEventListener("click", () => {
  setThreshold(state.threshold);
  moved();
  movedByHand = false;
  update(state);
});
byId("opacity").addEventListener("input", () => setOpacity(Number(/** @type {HTMLInputElement} */ (byId("opacity")).value)));
for (const button of document.querySelectorAll("[data-over]")) {
  button.addEventListener("click", () => setOver(/** @type {HTMLElement} */ (button).dataset.over ?? "map"));
}
for (const input of document.querySelectorAll("[name=group]")) input.addEventListener("change", () => gallery());
byId("gallery").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...byId("gallery").querySelectorAll("button")];
  const here = buttons.findIndex((one) => one === document.activeElement);
  const next = buttons[Math.min(buttons.length - 1, Math.max(0, here + step))];
  next?.focus();
  if (next?.dataset.key) choose(next.dataset.key);
});
byId("file").addEventListener("change", () => {
  const input = /** @type {HTMLInputElement} */ (byId("file"));
  const files = [...(input.files ?? [])];
  input.value = "";
  drop(files);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (!state?.detector) return;
  const items = [...(event.dataTransfer?.items ?? [])];
  const files = items.filter((item) => item.webkitGetAsEntry()?.isFile).map((item) => item.getAsFile());
  if (items.length > files.length) tell("That was a folder: drop the photographs in it.", true);
  drop(/** @type {File[]} */ (files.filter(Boolean)));
});
setOver(over);
setOpacity(opacity);
const now = repeatedly(async () => update(await get("inspection")), REFRESH_MS);
await now();
document.body.dataset.ready = "yes";
