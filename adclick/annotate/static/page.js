/** The annotation page: what a hand does becomes actions, what the server answers is shown. */

import * as api from "./api.js";
import { Clock } from "./clock.js";
import * as keys from "./keys.js";
import * as masks from "./masks.js";
import { memory } from "./memory.js";
import { Pictures } from "./pictures.js";
import { counted, Queue, STATES } from "./queue.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";

const REFRESH_MS = 4_000;
const PING_MS = 25_000;
const AWAY_MS = 240_000; // an image that nobody has touched for so long is given to others
const TOLD_MS = 5_000;
const SETTLED_MS = 350; // a threshold that keys have moved is sent when they rest
const LARGEST_PNG = 9_000_000;
const LARGEST_BRUSH = 120;
const BRUSH_SHARE = 0.02; // of the image's shorter side, until somebody chooses a size
const USUAL_BRUSH = 20; // no larger before that

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
const byId = (id) => /** @type {T} */ (document.getElementById(id));
/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (byId(id));
/** @param {string | null} type */
const typeName = (type) => (type ?? "unknown").replaceAll("_", " ");

const clock = new Clock();
const pictures = new Pictures();
const queue = new Queue((key) => choose(key));
const stage = new Stage(byId("stage"), {
  mark: (row, column, positive) => {
    nameFirst();
    send({ kind: "click", row, column, positive });
  },
  stroke: (points, erase) => {
    nameFirst();
    send({ kind: "stroke", erase, radius: stage.radius, points });
  },
  viewed: showZoom,
});

/** @type {Session | null} */
let session = null;
/** @type {{key: string, revision: number, probability: masks.Tiles, strokes: masks.Tiles} | null} */
let cuttable = null;
let opening = 0;
/** @type {Session | null} */
let finishing = null;
let radiusChosen = false;
let connected = true;
let touched = performance.now();

const me = () => input("annotator").value.trim() || "annotator";
const order = () => input("order").value;

// --- words ---------------------------------------------------------------------------------------

let toldTimer = 0;
/** @param {string} line @param {boolean} [bad] */
function tell(line, bad = false) {
  const told = byId("told");
  told.textContent = line;
  told.classList.toggle("bad", bad);
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => {
    told.textContent = "";
    told.classList.remove("bad");
  }, bad ? 2 * TOLD_MS : TOLD_MS);
}

/** For who hears the page. @param {string} line */
const speak = (line) => (byId("spoken").textContent = line);

/** @param {boolean} now */
function setConnected(now) {
  if (now && !connected) tell("Connected again; nothing was lost.");
  connected = now;
  const waiting = session?.waiting.length ?? 0;
  const kept = waiting ? ` ${counted(waiting, "action")} kept here until then.` : "";
  const lost = byId("lost");
  const line = connected ? "" : `No connection to the server; trying again.${kept}`;
  if (lost.textContent !== line) lost.textContent = line;
  lost.hidden = connected;
}

/** @param {unknown} error */
function report(error) {
  tell(error instanceof Error ? error.message : String(error), true);
}

// --- an image is opened --------------------------------------------------------------------------

/** @param {string} key */
async function choose(key) {
  const row = queue.rows.find((one) => one.key === key);
  if (row?.broken) tell(row.broken, true);
  else if (key !== session?.key) await openImage(key);
}

/** @param {string} key @returns {Promise<boolean>} whether it, or one chosen meanwhile, is open */
async function openImage(key) {
  const turn = ++opening;
  const left = session;
  lock();
  pictureOf(key).catch(() => undefined);
  /** @type {Session} */
  const opened = new Session(key, me(), clock, {
    shown: (state, started) => {
      if (opened === session) display(state, started);
    },
    waiting: () => showWaiting(opened),
    refused: (line) => tell(line, true),
    connected: setConnected,
  });
  try {
    if (left) await left.settled();
    await opened.open(order());
  } catch (error) {
    report(error);
    refreshQueue();
    if (turn !== opening) return true;
    unlock();
    return false;
  }
  if (turn !== opening) {
    opened.close();
    api.release(key, opened.annotator);
    return true;
  }
  if (left && left.key !== key) {
    left.close();
    if (!left.closedByServer) api.release(left.key, left.annotator);
  }
  await begin(opened);
  if (turn === opening) unlock();
  prefetch();
  return true;
}

/** An image's picture: as a whole, or of a large one its tiles. @param {string} key */
const pictureOf = (key) => pictures.get(key, "picture", queue.rows.find((one) => one.key === key));

/** Show an opened image; its picture and its mask are there when this returns. @param {Session} opened */
async function begin(opened) {
  const { key, state } = opened;
  session = opened;
  clock.restart();
  cuttable = null;
  history.replaceState(null, "", `#${key.split("/").map(encodeURIComponent).join("/")}`);
  document.title = `${key} - adclick`;
  byId("image-name").textContent = key;
  byId("image-name").title = key;
  byId("image-size").textContent = `${state.width} × ${state.height}`;
  stage.reset(state.width, state.height, state.pieces.mask && state.tile_px);
  if (!radiusChosen) setRadius(Math.min(USUAL_BRUSH, Math.min(state.width, state.height) * BRUSH_SHARE));
  queue.select(key);
  pictures.keepOnly([key, queue.next(key, me())]);
  for (const what of ["residual", "neighbour"]) depict(key, what, "is being prepared");
  const shown = [depict(key, "picture"), display(state, null)];
  if (state.message) tell(state.message);
  speak(`${key} is open.`);
  refreshQueue();
  await Promise.all(shown);
}

/** Nothing can be done to the image until `unlock`: keys and clicks would meet one that is not shown. */
function lock() {
  stage.locked = true;
  byId("stage").setAttribute("aria-busy", "true");
}

function unlock() {
  stage.locked = session === null;
  byId("stage").setAttribute("aria-busy", "false");
}

/**
 * Show the picture, the residual map or the nearest normal image, when it is there; asked for again
 * when the server comes back.
 * @param {string} key
 * @param {string} what
 * @param {string} [note] what to say until then
 */
async function depict(key, what, note = "") {
  stage.setPicture(what, null, note);
  try {
    const bitmap = await (what === "picture" ? pictureOf(key) : pictures.get(key, what));
    if (session?.key === key) stage.setPicture(what, bitmap);
  } catch (error) {
    if (session?.key !== key) return;
    stage.setPicture(what, null, error instanceof api.Refused ? error.message : "");
    if (error instanceof api.Unreachable) setTimeout(() => session?.key === key && depict(key, what, note), REFRESH_MS);
  }
}

/** The next image's pictures, before they are asked for. */
function prefetch() {
  const next = session && queue.next(session.key, me());
  if (!session || !next || !connected) return;
  pictures.keepOnly([session.key, next]);
  const row = queue.rows.find((one) => one.key === next);
  for (const what of row?.encoded ? ["picture", "residual", "neighbour"] : ["picture"]) {
    (what === "picture" ? pictureOf(next) : pictures.get(next, what)).catch(() => undefined);
  }
}

// --- a state is shown ----------------------------------------------------------------------------

/** @type {{state: any, started: number[]} | null} */
let display_next = null;
/** @type {Promise<void> | null} */
let displaying = null;

/**
 * Show a state; when they come faster than they can be drawn, the last one.
 * @param {any} state
 * @param {number | null} started when the hand did what led to it
 * @returns {Promise<void>} until it, or a later one, is shown
 */
function display(state, started) {
  const before = display_next?.state.key === state.key ? (display_next?.started ?? []) : [];
  display_next = { state, started: started === null ? before : [...before, started] };
  displaying ??= displayAll();
  return displaying;
}

async function displayAll() {
  try {
    while (display_next) {
      const { state: shown, started: starts } = display_next;
      display_next = null;
      await draw(shown);
      requestAnimationFrame(() => setTimeout(() => starts.forEach((start) => measure("click to mask", start)), 0));
    }
  } catch (error) {
    report(error);
  } finally {
    displaying = null;
  }
}

/** @param {string} name @param {number} start */
function measure(name, start) {
  performance.measure(name, { start, end: performance.now() });
}

let othersShown = "";
/** What there is of other defects, to be compared. @param {any} state */
const othersOf = ({ others, pieces }) => others ?? (pieces.others ?? []).map((/** @type {any[]} */ one) => one.join()).join();

/** @param {any} state */
async function draw(state) {
  const changed = othersOf(state) !== othersShown;
  let mask = await masks.read(state, "mask");
  const others = changed && othersOf(state) ? await masks.read(state, "others") : null;
  if (!session || session.key !== state.key) return;
  if (changed) stage.setOthers(others);
  othersShown = stage.others ? othersOf(state) : "";
  for (const { action } of session.waiting) {
    if (action.kind === "stroke") mask = masks.painted(mask, action.points, action.radius, action.erase);
  }
  if (!stage.stroke) stage.setMask(mask);
  showWaiting(session);
  showState(state);
  queue.setState(state.key, state.state);
  const area = state.objects.find((/** @type {any} */ one) => one.id === state.object)?.area ?? 0;
  speak(area ? `Mask of ${counted(area, "pixel")}.` : "No mask.");
  Object.assign(byId("stage").dataset, { key: state.key, revision: state.revision });
}

/** Clicks that the server has, and those that it is about to have. @param {Session} of */
function showWaiting(of) {
  if (of !== session) return;
  let clicks = of.state.clicks.map((/** @type {any[]} */ [row, column, positive]) => ({ row, column, positive, waits: false }));
  for (const { action } of of.waiting) {
    if (action.kind === "click") clicks.push({ ...action, waits: true });
    else if (action.kind === "undo" && clicks[clicks.length - 1]?.waits) clicks.pop();
    else if (["clear", "start", "object", "remove_object"].includes(action.kind)) clicks = [];
  }
  stage.setClicks(clicks);
  byId("stage").dataset.waiting = String(of.waiting.length);
  if (!connected) setConnected(false);
}

/** @param {any} state */
function showState(state) {
  const chip = byId("image-state");
  chip.textContent = STATES[/** @type {"todo"} */ (state.state)] ?? state.state;
  chip.className = `state ${state.state}`;
  input("undo").disabled = !state.can_undo;
  input("redo").disabled = !state.can_redo;
  input("start-saved").disabled = !state.can_start.includes("saved");
  input("start-found").disabled = !state.can_start.includes("zero_click");
  const threshold = input("threshold");
  threshold.disabled = !state.answered;
  if (!thresholdTimer) showThreshold(state.threshold);
  showTypes(state);
  showDefects(state);
}

/** @param {any} state */
function showTypes({ types, type }) {
  const select = /** @type {HTMLSelectElement} */ (byId("type"));
  const wanted = ["", ...types];
  if ([...select.options].map((one) => one.value).join("\n") !== wanted.join("\n")) {
    select.replaceChildren(...wanted.map((name) => new Option(typeName(name || null), name)));
  }
  select.value = type ?? "";
}

/** @param {any} state */
function showDefects({ objects, object }) {
  const rows = objects.some((/** @type {any} */ one) => one.id === object)
    ? objects
    : [...objects, { id: object, type: null, clicks: 0, area: 0 }];
  const items = rows.map((/** @type {any} */ one) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const isCurrent = one.id === object;
    button.dataset.defect = one.id;
    button.setAttribute("aria-current", String(isCurrent));
    const name = document.createElement("b");
    name.textContent = `${one.id}  ${typeName(one.type)}`;
    const facts = document.createElement("small");
    facts.textContent = one.area || one.clicks ? `${counted(one.clicks, "click")}, ${one.area.toLocaleString("en")} px` : "nothing marked";
    button.append(name, facts);
    button.addEventListener("click", () => isCurrent || send({ kind: "object", id: one.id }));
    item.append(button);
    if (objects.includes(one)) {
      const remove = document.createElement("button");
      remove.className = "quiet";
      remove.title = "Remove this defect (Delete)";
      remove.setAttribute("aria-label", `Remove defect ${one.id}`);
      remove.textContent = "×";
      remove.addEventListener("click", () => send({ kind: "remove_object", id: one.id }));
      item.append(remove);
    }
    return item;
  });
  byId("defects").replaceChildren(...items);
}

// --- what the hand does --------------------------------------------------------------------------

/** @param {any} action */
function send(action) {
  if (!session || stage.locked) return;
  touched = performance.now();
  session.send(action);
}

/** What is marked first in a photograph of a known kind of defect is of that kind. */
function nameFirst() {
  if (!session || session.state.type || session.state.objects.length || session.waiting.length) return;
  const kind = queue.rows.find((row) => row.key === session?.key)?.kind;
  if (session.state.types.includes(kind)) send({ kind: "type", value: kind });
}

let thresholdTimer = 0;
let cutting = false;

/** @param {number} value */
function showThreshold(value) {
  input("threshold").value = String(value);
  byId("threshold-value").textContent = value.toFixed(2);
}

/** Cut the probability anew, here and now; the server is told when the slider rests. */
async function previewThreshold() {
  byId("threshold-value").textContent = Number(input("threshold").value).toFixed(2);
  if (cutting || !session?.state.answered) return;
  cutting = true;
  try {
    const { state } = session;
    let known = cuttable;
    if (!known || known.key !== state.key || known.revision !== state.revision) {
      const [probability, strokes] = await Promise.all([masks.read(state, "probability"), masks.read(state, "strokes")]);
      known = cuttable = { key: state.key, revision: state.revision, probability, strokes };
    }
    await new Promise(requestAnimationFrame);
    if (session?.state !== state) return;
    const mask = masks.cut(known.probability, Number(input("threshold").value), stage.nothing);
    masks.layStrokes(mask, known.strokes);
    stage.setMask(mask);
  } finally {
    cutting = false;
  }
}

function recordThreshold() {
  clearTimeout(thresholdTimer);
  thresholdTimer = 0;
  const value = Number(Number(input("threshold").value).toFixed(2));
  if (session?.state.answered && value !== session.state.threshold) send({ kind: "threshold", value });
}

/** @param {number} by */
function moveThreshold(by) {
  const slider = input("threshold");
  if (slider.disabled) return;
  slider.value = String(Number(slider.value) + by);
  previewThreshold();
  clearTimeout(thresholdTimer);
  thresholdTimer = setTimeout(recordThreshold, SETTLED_MS);
}

/** @param {File | undefined} file */
async function startFrom(file) {
  if (!file) return;
  if (file.type !== "image/png" && !file.name.toLowerCase().endsWith(".png")) {
    tell(`${file.name}: a mask must be a PNG file (0 and 255, the image's size)`, true);
  } else if (file.size > LARGEST_PNG) {
    tell(`${file.name}: larger than ${LARGEST_PNG / 1e6} MB; store it as a black and white PNG`, true);
  } else {
    const content = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let at = 0; at < content.length; at += 32_768) text += String.fromCharCode(...content.subarray(at, at + 32_768));
    send({ kind: "start", source: "png", png: btoa(text) });
  }
}

/** @param {"saved" | "zero_click"} source */
function start(source) {
  if (session?.state.can_start.includes(source)) send({ kind: "start", source });
  else tell(source === "saved" ? "There is no saved mask of this image." : "A click model finds nothing by itself; mark the defect.");
}

/** @param {"done" | "normal" | "skipped"} state */
async function finish(state) {
  if (!session || finishing === session || stage.locked) return;
  const started = performance.now();
  const current = session;
  const turn = opening;
  finishing = current;
  lock();
  try {
    if (thresholdTimer) {
      stage.locked = false;
      recordThreshold();
      stage.locked = true;
    }
    await current.settled();
    if (state === "done" && !current.state.objects.some((/** @type {any} */ one) => one.area)) {
      tell("Nothing is marked. Press g when nothing is wrong here, s to skip.", true);
      return;
    }
    const answer = await current.save(state, order());
    current.closedByServer = true;
    speak(`${current.key} saved.`);
    if (turn !== opening) return; // another was chosen meanwhile
    await goOn(current.key, answer.next);
    measure("next image", started);
  } catch (error) {
    report(error);
  } finally {
    if (finishing === current) finishing = null;
    if (turn === opening) unlock();
  }
}

/**
 * From a saved image to the next one; where somebody else was quicker, to the one after it.
 * @param {string} key
 * @param {string | null} proposed
 */
async function goOn(key, proposed) {
  if (!proposed) await refreshQueue();
  let next = proposed ?? queue.next(key, me());
  const tried = new Set();
  while (next && !tried.has(next)) {
    if (await openImage(next)) return;
    tried.add(next);
    await refreshQueue();
    next = queue.next(key, me(), tried);
  }
  session = null;
  await openImage(key);
  const held = queue.held(me());
  if (queue.next(key, me())) return tell("Saved. The images that are left to do could not be opened.");
  const rest = held.length ? `the rest is with ${held.join(", ")}` : "all are finished";
  tell(`Saved. No other image is left to do: ${rest}.`);
}

// --- tools and view ------------------------------------------------------------------------------

/** @param {string} tool */
function setTool(tool) {
  stage.tool = tool;
  byId("stage").dataset.tool = tool;
  for (const button of document.querySelectorAll("[data-tool]")) {
    if (button instanceof HTMLButtonElement) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }
  byId("size-row").hidden = tool === "click";
  stage.redraw();
}

/** @param {number} radius */
function setRadius(radius) {
  stage.radius = Math.min(Math.max(Math.round(radius), 1), LARGEST_BRUSH);
  input("size").value = String(stage.radius);
  byId("size-value").textContent = `${2 * stage.radius + 1} px`;
  stage.redraw();
}

/** @param {number} radius */
function chooseRadius(radius) {
  radiusChosen = true;
  setRadius(radius);
}

/** @param {number} opacity */
function setOpacity(opacity) {
  stage.opacity = Math.min(Math.max(opacity, 0), 1);
  input("opacity").value = String(stage.opacity);
  byId("opacity-value").textContent = `${Math.round(100 * stage.opacity)} %`;
  memory.set("opacity", String(stage.opacity));
  stage.redraw();
}

let lookBefore = "fill";
/** @param {string} look */
function setLook(look) {
  if (stage.look !== "hidden") lookBefore = stage.look;
  stage.look = look;
  for (const button of document.querySelectorAll("[data-look]")) {
    button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.look === look));
  }
  stage.redraw();
}

/** @param {string} name @param {boolean} [shown] */
function togglePane(name, shown) {
  const pane = /** @type {HTMLElement} */ (document.querySelector(`[data-pane=${name}]`));
  pane.hidden = shown === undefined ? !pane.hidden : !shown;
  byId(`toggle-${name}`).setAttribute("aria-pressed", String(!pane.hidden));
  memory.set(name, String(!pane.hidden));
  const beside = document.querySelectorAll("[data-pane]:not([hidden])").length - 1;
  byId("stage").dataset.beside = String(beside);
  stage.redraw(true);
}

/** @param {boolean} [shown] */
function toggleQueue(shown) {
  const now = shown ?? document.body.classList.contains("without-queue");
  document.body.classList.toggle("without-queue", !now);
  byId("toggle-queue").setAttribute("aria-pressed", String(now));
}

function toggleTheme() {
  const isLight = matchMedia("(prefers-color-scheme: light)").matches;
  const now = document.documentElement.dataset.theme ?? (isLight ? "light" : "dark");
  setTheme(now === "dark" ? "light" : "dark");
}

/** @param {string} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  memory.set("theme", theme);
}

const mainBox = () => stage.box(stage.main);
/** @param {number} factor */
function zoom(factor) {
  const box = mainBox();
  const { scale, x, y } = stage.view.transform(box);
  const { row, column, keyboard } = stage.cursor;
  const held = keyboard ? [x + column * scale, y + row * scale] : [box.width / 2, box.height / 2];
  stage.view.zoomAt(factor, box, held[0], held[1]);
}

function showZoom() {
  const { scale } = stage.view.transform(mainBox());
  byId("zoom-value").textContent = `${Math.round(100 * scale * devicePixelRatio)} %`;
}

function nextType() {
  if (!session) return;
  const names = ["", ...session.state.types];
  const now = names.indexOf(session.state.type ?? "");
  send({ kind: "type", value: names[(now + 1) % names.length] || null });
}

function nextDefect() {
  const numbers = session?.state.objects.map((/** @type {any} */ one) => one.id) ?? [];
  if (!session || !numbers.length) return;
  const next = numbers[(numbers.indexOf(session.state.object) + 1) % numbers.length];
  if (next !== session.state.object) send({ kind: "object", id: next });
}

function removeDefect() {
  const { object, objects } = session?.state ?? { object: 0, objects: [] };
  if (objects.some((/** @type {any} */ one) => one.id === object)) send({ kind: "remove_object", id: object });
}

/** @param {number} step */
function beside(step) {
  const key = queue.beside(step);
  if (key) choose(key);
}

/** @type {Record<string, (event: KeyboardEvent) => void>} */
const COMMANDS = {
  click: () => setTool("click"),
  brush: () => setTool("brush"),
  erase: () => setTool("erase"),
  smaller: () => chooseRadius(Math.min(stage.radius - 1, stage.radius / 1.25)),
  larger: () => chooseRadius(Math.max(stage.radius + 1, stage.radius * 1.25)),
  undo: () => session?.state && (session.state.can_undo || session.waiting.length) && send({ kind: "undo" }),
  redo: () => session?.state && (session.state.can_redo || session.waiting.length) && send({ kind: "redo" }),
  new: () => session?.state.objects.length && send({ kind: "object", id: null }),
  nextDefect,
  remove: removeDefect,
  clear: () => session?.state.objects.length && send({ kind: "clear" }),
  nextType,
  higher: () => moveThreshold(0.03),
  lower: () => moveThreshold(-0.03),
  startSaved: () => start("saved"),
  startFound: () => start("zero_click"),
  startFile: () => byId("file").click(),
  save: () => finish("done"),
  good: () => finish("normal"),
  skip: () => finish("skipped"),
  following: () => beside(1),
  preceding: () => beside(-1),
  find: () => {
    toggleQueue(true);
    byId("search").focus();
  },
  zoomIn: () => zoom(1.3),
  zoomOut: () => zoom(1 / 1.3),
  fit: () => stage.view.fit(),
  actual: () => stage.view.actualSize(mainBox()),
  look: () => setLook(stage.look === "fill" ? "outline" : "fill"),
  hide: () => setLook(stage.look === "hidden" ? lookBefore : "hidden"),
  fainter: () => setOpacity(stage.opacity - 0.1),
  stronger: () => setOpacity(stage.opacity + 0.1),
  residual: () => togglePane("residual"),
  neighbour: () => togglePane("neighbour"),
  queue: () => toggleQueue(),
  theme: toggleTheme,
  help: () => /** @type {HTMLDialogElement} */ (byId("help")).showModal(),
};

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const REPEATED = ["smaller", "larger", "higher", "lower", "zoomIn", "zoomOut", "fainter", "stronger", "undo", "redo", "following", "preceding"];

/** @param {KeyboardEvent} event */
function keyDown(event) {
  if (keys.isTaken(event)) return;
  const move = MOVES[/** @type {keyof MOVES} */ (event.key)];
  const command = keys.commandOf(event);
  if (event.key === " ") {
    event.preventDefault();
    if (!event.repeat) stage.hold();
  } else if (move && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    stage.moveCursor(move[0], move[1], event.shiftKey);
    if (!event.repeat) speak(`Row ${stage.cursor.row}, column ${stage.cursor.column}.`);
  } else if (command && COMMANDS[command]) {
    event.preventDefault();
    if (event.key === "Escape" && document.activeElement instanceof HTMLInputElement) byId("stage").focus();
    if (!event.repeat || REPEATED.includes(command)) COMMANDS[command](event);
  }
}

/** @param {KeyboardEvent} event */
function keyUp(event) {
  if (event.key !== " " || !stage.panning) return;
  event.preventDefault();
  if (stage.letGo()) stage.markHere(!event.shiftKey);
}

// --- the server's news ---------------------------------------------------------------------------

let refreshing = false;
async function refreshQueue() {
  if (refreshing) return;
  refreshing = true;
  try {
    queue.update(await api.images(order()));
    if (!session?.waiting.length) setConnected(true);
  } catch (error) {
    if (error instanceof api.Unreachable) setConnected(false);
    else report(error);
  } finally {
    refreshing = false;
  }
}

async function refreshHealth() {
  const dot = byId("health-dot");
  const text = byId("health-text");
  try {
    const health = await api.health();
    const parts = [health.model, `on ${health.device}`];
    if (health.last_latency_ms !== null) {
      parts.push(`last answer ${Math.round(health.last_latency_ms)} ms, 95 % within ${Math.round(health.p95_latency_ms)} ms`);
    }
    const busy = health.encoding ? `, preparing ${health.encoding}` : "";
    parts.push(`${health.encoded} of ${health.total} images prepared${busy}`);
    if (health.restarts) parts.push(`restarted ${health.restarts} times`);
    if (health.last_error) parts.unshift(`last error: ${health.last_error}`);
    text.textContent = parts.join("  ·  ");
    text.title = parts.join("\n");
    dot.className = `dot ${health.last_error ? "ill" : health.encoding ? "busy" : "well"}`;
  } catch (error) {
    if (error instanceof api.Unreachable) setConnected(false);
    text.textContent = error instanceof api.Refused ? error.message : "no answer from the server";
    dot.className = "dot ill";
  }
}

function keep() {
  if (session && connected && performance.now() - touched < AWAY_MS) session.ping();
}

// --- wiring --------------------------------------------------------------------------------------

/** @param {string} id @param {string} command */
const runs = (id, command) =>
  byId(id).addEventListener("click", () => COMMANDS[command](new KeyboardEvent("keydown")));

function wire() {
  for (const [id, command] of Object.entries({
    undo: "undo", redo: "redo", "new-defect": "new", clear: "clear", "start-saved": "startSaved",
    "start-found": "startFound", "start-file": "startFile", save: "save", good: "good", skip: "skip",
    fit: "fit", actual: "actual", "zoom-in": "zoomIn", "zoom-out": "zoomOut", theme: "theme",
    "show-help": "help", "toggle-queue": "queue", "toggle-residual": "residual",
    "toggle-neighbour": "neighbour",
  })) runs(id, command);
  for (const button of document.querySelectorAll("button[data-tool]")) {
    button.addEventListener("click", () => setTool(/** @type {HTMLElement} */ (button).dataset.tool ?? "click"));
  }
  for (const button of document.querySelectorAll("[data-look]")) {
    button.addEventListener("click", () => setLook(/** @type {HTMLElement} */ (button).dataset.look ?? "fill"));
  }
  // A pressed button must not keep the focus, or Enter would press it again.
  document.addEventListener("click", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.detail && target.closest("button, [type=radio]") && !target.closest("dialog")) {
      byId("stage").focus({ preventScroll: true });
    }
  });
  input("size").addEventListener("input", () => chooseRadius(Number(input("size").value)));
  input("opacity").addEventListener("input", () => setOpacity(Number(input("opacity").value)));
  input("threshold").addEventListener("input", previewThreshold);
  input("threshold").addEventListener("change", recordThreshold);
  byId("type").addEventListener("change", () => send({ kind: "type", value: input("type").value || null }));
  byId("order").addEventListener("change", () => {
    memory.set("order", order());
    refreshQueue();
  });
  input("file").addEventListener("change", () => {
    startFrom(input("file").files?.[0]);
    input("file").value = "";
  });
  input("annotator").addEventListener("change", rename);
  document.addEventListener("keydown", keyDown);
  document.addEventListener("keyup", keyUp);
  addEventListener("blur", () => stage.letGo());
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    startFrom(event.dataTransfer?.files[0]);
  });
  addEventListener("pagehide", () => session && api.release(session.key, session.annotator));
  addEventListener("hashchange", () => choose(asked()));
  for (const sign of ["pointerdown", "pointermove", "keydown"]) {
    addEventListener(sign, () => (touched = performance.now()), { passive: true });
  }
}

function asked() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

/** Another name: the image is taken anew under it. */
async function rename() {
  memory.set("annotator", me());
  byId("stage").focus();
  if (!session) return;
  const { key, annotator } = session;
  await session.settled();
  session.close();
  session = null;
  await api.release(key, annotator);
  await openImage(key);
}

function recall() {
  const name = memory.get("annotator") ?? `annotator-${Math.random().toString(36).slice(2, 6)}`;
  memory.set("annotator", name);
  input("annotator").value = name;
  const theme = memory.get("theme");
  if (theme) setTheme(theme);
  if (memory.get("order") === "teaches") input("order").value = "teaches";
  setOpacity(Number(memory.get("opacity") ?? 0.45));
  for (const name of ["residual", "neighbour"]) togglePane(name, memory.get(name) !== "false");
  if (matchMedia("(max-width: 1000px)").matches) toggleQueue(false);
  setTool("click");
  setRadius(8);
}

async function main() {
  recall();
  wire();
  keys.list(byId("keys"));
  refreshHealth();
  while (!queue.rows.length) {
    await refreshQueue();
    if (!queue.rows.length) await new Promise((done) => setTimeout(done, 1_000));
  }
  setInterval(refreshQueue, REFRESH_MS);
  setInterval(refreshHealth, REFRESH_MS);
  setInterval(keep, PING_MS);
  const free = (/** @type {any} */ row) => !row.broken && [null, me()].includes(row.leased_by);
  const first =
    queue.rows.find((row) => row.key === asked() && free(row)) ??
    queue.rows.find((row) => row.state === "in_work" && free(row)) ??
    queue.rows.find((row) => row.state === "todo" && free(row)) ??
    queue.rows.find(free);
  if (first) await openImage(first.key);
  else tell("No image can be opened: all are held by others, or cannot be read.", true);
  byId("stage").focus({ preventScroll: true });
  document.body.dataset.ready = "yes";
}

main();
