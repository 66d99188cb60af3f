/** What all steps need: talking to the server, telling the user, making elements, and the theme. */

import { memory } from "/label/memory.js";

const API = "/api/v1/";
const TOLD_MS = 8_000;

/** The server refused, or is away. */
export class Failed extends Error {
  /** @param {string} line @param {number} status */
  constructor(line, status) {
    super(line);
    this.status = status;
  }
}

/**
 * @param {string} route
 * @param {RequestInit} [options]
 */
async function request(route, options = {}) {
  let answer;
  try {
    answer = await fetch(API + route, { ...options, credentials: "same-origin" });
  } catch {
    throw new Failed("No connection to the server; nothing is lost. Start it again, then go on.", 0);
  }
  if (answer.ok) return answer;
  let line = `the server answered ${answer.status}`;
  try {
    line = (await answer.json()).error ?? line;
  } catch {
    // no JSON: the status must do
  }
  throw new Failed(line, answer.status);
}

/** @param {string} route @returns {Promise<any>} */
export const get = async (route) => (await request(route)).json();

/** @param {string} route */
export const fetched = (route) => request(route);

/** @param {string} route @param {object} [body] @returns {Promise<any>} */
export const post = async (route, body = {}) =>
  (
    await request(route, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Adclick": "1" },
      body: JSON.stringify(body),
    })
  ).json();

/** Send a file's bytes. @param {string} route @param {Blob} file @returns {Promise<any>} */
export const upload = async (route, file) =>
  (
    await request(`files/${route}`, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream", "X-Adclick": "1" },
      body: file,
    })
  ).json();

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
export const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @param {string} name @param {Record<string, any>} [facts] @param {...(Node | string)} content */
export function element(name, facts = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(facts)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...content);
  return made;
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** A span of time in words. @param {number} seconds */
export function span(seconds) {
  if (seconds < 55) return counted(Math.max(1, Math.round(seconds)), "second");
  if (seconds < 5_400) return counted(Math.max(1, Math.round(seconds / 60)), "minute");
  return `${(seconds / 3_600).toFixed(1)} hours`;
}

let toldTimer = 0;
/** @param {string} line @param {boolean} [bad] */
export function tell(line, bad = false) {
  const told = byId("told");
  told.textContent = line;
  told.classList.toggle("bad", bad);
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => (told.textContent = ""), bad ? 2 * TOLD_MS : TOLD_MS);
}

/** What became of files that were given. @param {number} count @param {string[]} refused */
export function tellTaken(count, refused) {
  const taken = `${counted(count - refused.length, "photograph")} taken`;
  if (refused.length) tell(`${taken}, ${refused.length} not: ${refused[0]}`, true);
  else tell(`${taken}.`);
}

/** @param {unknown} error */
export const report = (error) => tell(error instanceof Error ? error.message : String(error), true);

/** For who hears the page. @param {string} line */
export const speak = (line) => {
  if (byId("spoken").textContent !== line) byId("spoken").textContent = line;
};

/** The steps' line learns at once that something changed. */
export const changed = () => document.dispatchEvent(new Event("changed"));

/**
 * Ask for something again and again, without two askings at once; an error is told once.
 * @param {() => Promise<void>} ask
 * @param {number} everyMs
 * @returns {() => Promise<void>} asks now, or waits for what is being asked
 */
export function repeatedly(ask, everyMs) {
  /** @type {Promise<void> | null} */
  let asking = null;
  let failed = false;
  let away = false;
  const once = async () => {
    try {
      await ask();
      if (away) tell("Connected again; nothing was lost.");
      failed = away = false;
    } catch (error) {
      if (!failed) report(error);
      failed = true;
      away = error instanceof Failed && error.status === 0;
    }
  };
  const now = () =>
    (asking ??= once().finally(() => {
      asking = null;
    }));
  setInterval(() => document.hidden || now(), everyMs);
  return now;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function theme() {
  const remembered = memory.get("theme");
  if (remembered) document.documentElement.dataset.theme = remembered;
  const button = element("button", { class: "quiet", title: "Dark or light", "aria-label": "Dark or light", id: "theme" });
  button.innerHTML =
    '<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5.5" /><path class="solid" d="M8 2.5a5.5 5.5 0 0 1 0 11z" /></svg>';
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    memory.set("theme", next);
  });
  byId("steps").append(button);
}

theme();
