// The annotation page: what the annotator does becomes actions; what the server answers is shown.

import { connection, get, pictureUrl, post, Refusal, tryGet } from "./api.js";
import { cut, decodeGrey, tinted } from "./masks.js";
import { showQueue, stateName } from "./queue.js";
import { View } from "./view.js";

const IDLE_MS = 30_000;
const PING_MS = 20_000;
const QUEUE_MS = 5_000;
const byId = (name) => document.getElementById(name);

const view = new View();
const panes = {
  image: view.add(byId("canvas"), true),
  residual: view.add(byId("pane-residual").querySelector("canvas")),
  neighbour: view.add(byId("pane-neighbour").querySelector("canvas")),
};
const state = {
  session: null, // as the server sees the image
  probability: null,
  strokes: null,
  tool: "click",
  radius: 8,
  pending: [], // clicks that wait for their answer
  work: Promise.resolve(), // actions one after the other
  waiting: 0,
  rows: [],
  opening: 0,
};
const work = { seconds: 0, last: performance.now() };

// --- words ---------------------------------------------------------------------------------------

let statusTimer = 0;
function tell(text, bad = false, stays = false) {
  const status = byId("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
  status.classList.toggle("shown", Boolean(text));
  clearTimeout(statusTimer);
  if (text && !stays) statusTimer = setTimeout(() => status.classList.remove("shown"), 4000);
}

connection.tell = (lost) => {
  if (lost) tell("Connection lost. Trying again; nothing is lost.", true, true);
  else tell("Connected again.");
};

function annotator() {
  return byId("annotator").value.trim() || "annotator";
}

/** Seconds of work since the last request; pauses of more than half a minute do not count. */
function spent() {
  noteWork();
  const seconds = work.seconds;
  work.seconds = 0;
  return seconds;
}

function noteWork() {
  const now = performance.now();
  work.seconds += Math.min(now - work.last, IDLE_MS) / 1000;
  work.last = now;
}

// --- images --------------------------------------------------------------------------------------

async function openImage(key) {
  const turn = ++state.opening;
  const left = state.session;
  await state.work;
  if (left && left.key !== key) release(left.key);
  let session;
  try {
    session = await post(key, `open?order=${byId("order").value}`, { annotator: annotator(), seconds: 0 });
  } catch (error) {
    tell(error.message, true);
    await refreshQueue();
    return false;
  }
  if (turn !== state.opening) {
    release(key);
    return false;
  }
  work.seconds = 0;
  work.last = performance.now();
  state.pending = [];
  view.cursor = view.stroke = null;
  view.fitted = true;
  for (const pane of Object.values(panes)) pane.picture = null;
  view.overlay.mask = view.overlay.others = null;
  state.session = null;
  history.replaceState(null, "", `#${encodeURIComponent(key)}`);
  view.show(session.width, session.height);
  await adopt(session);
  loadPicture(panes.image, key, "picture");
  loadPicture(panes.residual, key, "residual");
  loadPicture(panes.neighbour, key, "neighbour");
  byId("image-name").textContent = key;
  if (session.message) tell(session.message);
  await refreshQueue();
  return true;
}

async function loadPicture(pane, key, verb) {
  const picture = new Image();
  picture.src = pictureUrl(key, verb);
  try {
    await picture.decode();
  } catch {
    if (state.session?.key === key && verb === "picture") tell(`${key}: the picture cannot be shown`, true);
    return;
  }
  if (state.session?.key !== key) return;
  pane.picture = picture;
  view.draw();
}

async function release(key) {
  try {
    await post(key, "release", { annotator: annotator(), seconds: 0 });
  } catch {
    // its lease ends by itself
  }
}

/** Show a session as the server sees it. */
async function adopt(session) {
  const [probability, mask, strokes, others] = await Promise.all([
    session.answered ? decodeGrey(session.probability) : null,
    decodeGrey(session.mask),
    session.strokes ? decodeGrey(session.strokes) : null,
    session.others ? decodeGrey(session.others) : null,
  ]);
  if (state.session && state.session.key === session.key && session.revision < state.session.revision) return;
  state.session = session;
  state.probability = probability;
  state.strokes = strokes;
  view.overlay.mask = tinted(mask);
  view.overlay.others = others && tinted(others, true);
  showClicks();
  showTools();
  view.draw();
}

function showClicks() {
  const known = state.session.clicks.map(([row, column, positive]) => ({ row, column, positive }));
  view.clicks = [...known, ...state.pending.map((click) => ({ ...click, pending: true }))];
}

function showTools() {
  const { session } = state;
  byId("undo").disabled = !session.can_undo;
  byId("redo").disabled = !session.can_redo;
  byId("threshold").value = session.threshold;
  byId("threshold-value").value = session.threshold.toFixed(2);
  byId("threshold").disabled = !session.answered;
  byId("object-number").textContent = session.object;
  const chip = byId("image-state");
  chip.hidden = false;
  chip.textContent = stateName(session.state);
  byId("start-saved").disabled = !session.can_start.includes("saved");
  byId("start-found").disabled = !session.can_start.includes("zero_click");
  byId("remove-object").disabled = !session.objects.some((one) => one.id === session.object);
  showTypes();
  showObjects();
}

function showTypes() {
  const { types, type } = state.session;
  const select = byId("type");
  const wanted = ["", ...types];
  if ([...select.options].map((one) => one.value).join("\n") !== wanted.join("\n")) {
    select.replaceChildren(...wanted.map((name) => new Option(name.replaceAll("_", " ") || "unknown", name)));
  }
  select.value = type ?? "";
}

function showObjects() {
  const { objects, object } = state.session;
  byId("objects").replaceChildren(
    ...(objects.length < 2 ? [] : objects).map((one) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const name = one.type ? one.type.replaceAll("_", " ") : "unknown";
      button.textContent = `${one.id}: ${name}, ${one.area} px`;
      button.setAttribute("aria-current", String(one.id === object));
      button.addEventListener("click", () => act({ kind: "object", id: one.id }));
      item.append(button);
      return item;
    }),
  );
}

// --- actions -------------------------------------------------------------------------------------

/** Send an action after all others; what is shown afterwards is the server's answer. */
function act(action, after = () => {}) {
  const key = state.session?.key;
  if (!key) return Promise.resolve();
  noteWork();
  state.waiting += 1;
  state.work = state.work.then(async () => {
    const started = performance.now();
    try {
      if (state.session?.key !== key) return;
      const body = { annotator: annotator(), revision: state.session.revision, action, seconds: spent() };
      const session = await post(key, "actions", body);
      after();
      await adopt(session);
      document.body.dataset.answered = String(performance.now() - started);
    } catch (error) {
      after();
      await refused(error);
    } finally {
      state.waiting -= 1;
    }
  });
  return state.work;
}

async function refused(error) {
  if (!(error instanceof Refusal)) throw error;
  if (error.answer.session) {
    await adopt(error.answer.session);
    return;
  }
  tell(error.message, true);
  if (state.session) showClicks();
  view.draw();
}

function click(pixel, positive) {
  const marker = { ...pixel, positive };
  state.pending.push(marker);
  showClicks();
  view.draw();
  return act({ kind: "click", ...marker }, () => {
    state.pending = state.pending.filter((one) => one !== marker);
  });
}

function stroke(points, erase) {
  return act({ kind: "stroke", erase, radius: state.radius, points }, () => {
    view.stroke = null;
  });
}

async function finish(result) {
  if (!state.session) return;
  await state.work;
  const { key, revision } = state.session;
  const body = { annotator: annotator(), revision, state: result, seconds: spent(), order: byId("order").value };
  try {
    const answer = await post(key, "save", body);
    state.session.state = answer.image.state;
    if (answer.next) await openImage(answer.next);
    else {
      tell("All images are finished.", false, true);
      await openImage(key);
    }
  } catch (error) {
    await refused(error);
  }
}

function step(by) {
  const open = state.rows.filter((row) => !row.broken);
  const place = open.findIndex((row) => row.key === state.session?.key);
  const next = open[place + by];
  if (next) openImage(next.key);
}

// --- tools ---------------------------------------------------------------------------------------

function setTool(tool) {
  state.tool = tool;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-checked", String(button.dataset.tool === tool));
  }
  if (tool === "click") view.brush = null;
  view.draw();
}

function setRadius(radius) {
  state.radius = Math.min(Math.max(Math.round(radius), 1), 200);
  byId("radius").value = state.radius;
  if (view.brush) view.brush.radius = state.radius;
  view.draw();
}

let drawing = 0;
function showThreshold(value) {
  byId("threshold-value").value = value.toFixed(2);
  if (!state.probability || drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    const { width, height } = state.session;
    const level = Number(byId("threshold").value);
    view.overlay.mask = tinted(cut(state.probability, width, height, level, state.strokes));
    view.draw();
  });
}

function setThreshold(value) {
  if (!state.session?.answered) return;
  const bounded = Math.min(Math.max(value, 0.02), 0.98);
  byId("threshold").value = bounded;
  showThreshold(bounded);
  act({ kind: "threshold", value: Number(bounded.toFixed(2)) });
}

function nextType() {
  const names = ["", ...state.session.types];
  const next = names[(names.indexOf(state.session.type ?? "") + 1) % names.length];
  act({ kind: "type", value: next || null });
}

function nextObject() {
  const numbers = state.session.objects.map((one) => one.id);
  if (numbers.length) act({ kind: "object", id: numbers[(numbers.indexOf(state.session.object) + 1) % numbers.length] });
}

function start(source) {
  if (state.session.can_start.includes(source)) act({ kind: "start", source });
  else tell(source === "saved" ? "There is no mask to start from." : "A click model finds nothing by itself.");
}

function toggleOutline() {
  view.overlay.outline = !view.overlay.outline;
  byId("outline").setAttribute("aria-pressed", String(view.overlay.outline));
  view.draw();
}

function setOpacity(value) {
  view.overlay.opacity = Math.min(Math.max(value, 0), 1);
  byId("opacity").value = view.overlay.opacity;
  view.draw();
}

function togglePane(name) {
  byId(`pane-${name}`).hidden = !byId(`pane-${name}`).hidden;
  const shown = ["residual", "neighbour"].filter((one) => !byId(`pane-${one}`).hidden).length;
  byId("stage").className = ["one", "two", ""][shown];
}

function moveCursor(rows, columns) {
  const at = view.cursor || { row: Math.floor(view.height / 2), column: Math.floor(view.width / 2) };
  view.cursor = {
    row: Math.min(Math.max(at.row + rows, 0), view.height - 1),
    column: Math.min(Math.max(at.column + columns, 0), view.width - 1),
  };
  tell(`row ${view.cursor.row}, column ${view.cursor.column}`);
  view.draw();
}

function useCursor(positive) {
  if (!view.cursor) return moveCursor(0, 0);
  const { row, column } = view.cursor;
  if (state.tool === "click") click({ row, column }, positive);
  else stroke([[row, column]], state.tool === "eraser");
}

// --- pointer -------------------------------------------------------------------------------------

const pointers = new Map();
let pinch = null;

function pointerDown(event, pane) {
  if (!state.session) return;
  const { canvas } = pane;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  view.cursor = null;
  if (pointers.size === 2) {
    view.stroke = null;
    pinch = spread();
    return;
  }
  if (event.button === 1 || event.altKey || !pane.main) return;
  const pixel = view.pixel(pane, event);
  if (state.tool !== "click" && event.button === 0) {
    const erase = (state.tool === "eraser") !== event.shiftKey;
    if (pixel) view.stroke = { points: [[pixel.row, pixel.column]], radius: state.radius, erase };
    view.draw();
  }
}

function pointerMove(event, pane) {
  noteWork();
  const before = pointers.get(event.pointerId);
  if (pane.main) hover(pane, event);
  if (!before) return;
  pointers.set(event.pointerId, event);
  if (pinch && pointers.size === 2) return movePinch();
  const dragged = (event.buttons & 4) !== 0 || event.altKey || !pane.main;
  if (dragged) view.pan(event.clientX - before.clientX, event.clientY - before.clientY);
  else if (view.stroke) {
    const pixel = view.pixel(pane, event);
    if (pixel) view.stroke.points.push([pixel.row, pixel.column]);
    view.draw();
  }
}

function pointerUp(event, pane) {
  const wasPinched = pinch !== null;
  const known = pointers.delete(event.pointerId);
  if (pointers.size < 2 && wasPinched) {
    if (!pointers.size) pinch = null;
    return;
  }
  if (!known || !state.session || !pane.main) return;
  if (view.stroke) {
    stroke(view.stroke.points, view.stroke.erase);
    return;
  }
  if (state.tool !== "click" || event.altKey || event.button === 1) return;
  const pixel = view.pixel(pane, event);
  if (pixel) click(pixel, event.button === 0 && !event.shiftKey);
}

function hover(pane, event) {
  const pixel = state.tool === "click" ? null : view.pixel(pane, event);
  view.brush = pixel && { ...pixel, radius: state.radius };
  if (state.tool !== "click") view.draw();
}

function spread() {
  const [a, b] = [...pointers.values()];
  const x = (a.clientX + b.clientX) / 2, y = (a.clientY + b.clientY) / 2;
  return { x, y, distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
}

function movePinch() {
  const now = spread(), box = view.main.getBoundingClientRect();
  view.pan(now.x - pinch.x, now.y - pinch.y);
  view.zoom(now.distance / Math.max(pinch.distance, 1), now.x - box.left, now.y - box.top);
  pinch = now;
}

for (const pane of Object.values(panes)) {
  const { canvas } = pane;
  canvas.addEventListener("pointerdown", (event) => pointerDown(event, pane));
  canvas.addEventListener("pointermove", (event) => pointerMove(event, pane));
  canvas.addEventListener("pointerup", (event) => pointerUp(event, pane));
  canvas.addEventListener("pointercancel", (event) => {
    pointers.delete(event.pointerId);
    view.stroke = pinch = null;
  });
  canvas.addEventListener("pointerleave", () => {
    view.brush = null;
    view.draw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect(), main = view.main;
    const x = ((event.clientX - box.left) * main.clientWidth) / canvas.clientWidth;
    const y = ((event.clientY - box.top) * main.clientHeight) / canvas.clientHeight;
    view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), x, y);
  }, { passive: false });
}

// --- keys ----------------------------------------------------------------------------------------

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const KEYS = {
  z: () => act({ kind: "undo" }),
  x: () => act({ kind: "redo" }),
  c: () => setTool("click"),
  b: () => setTool("brush"),
  e: () => setTool("eraser"),
  "[": () => setRadius(state.radius / 1.25 - 0.5),
  "]": () => setRadius(state.radius * 1.25 + 0.5),
  t: () => setThreshold(state.session.threshold + 0.03),
  T: () => setThreshold(state.session.threshold - 0.03),
  y: nextType,
  n: () => act({ kind: "object", id: null }),
  d: nextObject,
  Delete: () => act({ kind: "remove_object", id: state.session.object }),
  Backspace: () => act({ kind: "clear" }),
  m: () => start("saved"),
  f: () => start("zero_click"),
  "+": () => view.zoom(1.3),
  "=": () => view.zoom(1.3),
  "-": () => view.zoom(1 / 1.3),
  0: () => view.fit(),
  1: () => view.zoom(1 / view.scale),
  o: toggleOutline,
  v: () => {
    view.overlay.hidden = !view.overlay.hidden;
    view.draw();
  },
  ",": () => setOpacity(view.overlay.opacity - 0.1),
  ".": () => setOpacity(view.overlay.opacity + 0.1),
  q: () => document.querySelector("main").classList.toggle("no-queue"),
  r: () => togglePane("residual"),
  w: () => togglePane("neighbour"),
  g: () => finish("normal"),
  s: () => finish("skipped"),
  j: () => step(1),
  k: () => step(-1),
  Enter: () => finish("done"),
  " ": (event) => useCursor(!event.shiftKey),
  "?": () => byId("help").showModal(),
};

function keyDown(event) {
  noteWork();
  const inField = event.target.matches("input:not([type=range]), select, dialog *");
  if (inField || byId("help").open) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 && command ? event.key.toLowerCase() : event.key;
  let chosen = null;
  if (command && key === "z") chosen = event.shiftKey ? KEYS.x : KEYS.z;
  else if (command && key === "y") chosen = KEYS.x;
  else if (command) return;
  else if (MOVES[key] && !event.target.matches("input")) chosen = () => arrow(event, MOVES[key]);
  else if ((key === "Enter" || key === " ") && event.target.matches("button, a")) return;
  else chosen = KEYS[key];
  if (!chosen || (!state.session && key !== "?")) return;
  event.preventDefault();
  chosen(event);
}

function arrow(event, [rows, columns]) {
  if (event.altKey) return view.pan(-60 * columns, -60 * rows);
  const by = Math.max(1, Math.round((event.shiftKey ? 24 : 4) / view.scale));
  moveCursor(by * rows, by * columns);
}

document.addEventListener("keydown", keyDown);

// --- the rest of the page ------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => setTool(button.dataset.tool));
}
const CLICKS = {
  undo: KEYS.z, redo: KEYS.x, "new-object": KEYS.n, "remove-object": KEYS.Delete, outline: toggleOutline,
  fit: () => view.fit(), save: () => finish("done"), good: () => finish("normal"), skip: () => finish("skipped"),
  "start-saved": () => start("saved"), "start-found": () => start("zero_click"),
  "toggle-help": () => byId("help").showModal(),
};
for (const [name, action] of Object.entries(CLICKS)) byId(name).addEventListener("click", () => action());
byId("radius").addEventListener("input", (event) => setRadius(Number(event.target.value)));
byId("opacity").addEventListener("input", (event) => setOpacity(Number(event.target.value)));
byId("threshold").addEventListener("input", (event) => showThreshold(Number(event.target.value)));
byId("threshold").addEventListener("change", (event) => setThreshold(Number(event.target.value)));
byId("type").addEventListener("change", (event) => act({ kind: "type", value: event.target.value || null }));
byId("filter").addEventListener("change", refreshQueue);
byId("order").addEventListener("change", refreshQueue);

document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (!file || !state.session) return;
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  act({ kind: "start", source: "png", png: btoa(text) });
});

function remember(name, made) {
  const input = byId(name);
  try {
    input.value = localStorage.getItem(name) || made;
    localStorage.setItem(name, input.value);
    input.addEventListener("change", () => localStorage.setItem(name, input.value));
  } catch {
    input.value = made;
  }
}

async function refreshQueue() {
  const query = new URLSearchParams({ order: byId("order").value });
  if (byId("filter").value) query.set("state", byId("filter").value);
  try {
    const answer = await tryGet(`/api/v1/images?${query}`);
    state.rows = answer.images;
    showQueue(answer, { current: state.session?.key, me: annotator(), choose: openImage });
  } catch (error) {
    if (error instanceof Refusal) tell(error.message, true);
  }
}

async function refreshHealth() {
  const dot = byId("health-dot"), text = byId("health-text");
  try {
    const health = await tryGet("/api/v1/health");
    const parts = [health.model, `on ${health.device}`];
    if (health.last_latency_ms !== null) {
      parts.push(`last answer ${Math.round(health.last_latency_ms)} ms (95 % within ${Math.round(health.p95_latency_ms)} ms)`);
    }
    parts.push(`${health.encoded} of ${health.total} images prepared${health.encoding ? " …" : ""}`);
    if (health.last_error) parts.push(`last error: ${health.last_error}`);
    text.textContent = parts.join(" · ");
    dot.className = `dot ${health.last_error ? "ill" : "well"}`;
  } catch {
    text.textContent = "no answer from the server";
    dot.className = "dot ill";
  }
}

async function ping() {
  if (!state.session || document.hidden) return;
  try {
    await post(state.session.key, "ping", { annotator: annotator(), seconds: spent() });
  } catch (error) {
    if (error instanceof Refusal) tell(error.message, true);
  }
}

async function begin() {
  remember("annotator", `guest-${Math.random().toString(36).slice(2, 6)}`);
  setTool("click");
  await refreshQueue();
  refreshHealth();
  setInterval(refreshHealth, QUEUE_MS);
  setInterval(refreshQueue, QUEUE_MS);
  setInterval(ping, PING_MS);
  const all = (await get("/api/v1/images")).images;
  const asked = decodeURIComponent(location.hash.slice(1));
  const free = (row) => !row.broken && (!row.leased_by || row.leased_by === annotator());
  const first =
    all.find((row) => row.key === asked && free(row)) ||
    all.find((row) => row.state === "in_work" && free(row)) ||
    all.find((row) => row.state === "todo" && free(row)) ||
    all.find(free);
  if (first) await openImage(first.key);
  else tell("Every image is held by somebody else.", true, true);
  document.body.dataset.ready = "yes";
}

begin();
