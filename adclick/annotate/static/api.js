/** Talking to the server: one function a route, and errors that say what kind they are. */

const API = "api/v1";
const PATIENCE_MS = 60_000;

/** No answer came: the server is away, or the network is. */
export class Unreachable extends Error {}

/** The server refused: `status` and what it told. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {any} facts
   */
  constructor(status, facts) {
    super(facts?.error ?? `the server answered ${status}`);
    this.status = status;
    this.facts = facts ?? {};
  }
}

/** @param {string} key */
const path = (key) => key.split("/").map(encodeURIComponent).join("/");

/**
 * The address of a picture of an image: picture, thumbnail, residual or neighbour.
 * @param {string} key
 * @param {string} what
 */
export const address = (key, what) => `${API}/images/${path(key)}/${what}`;

/**
 * @param {string} url
 * @param {RequestInit} [options]
 */
async function request(url, options = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, patience]) : patience;
  let answer;
  try {
    answer = await fetch(url, { ...options, signal, credentials: "same-origin" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable("no connection to the server");
  }
  if (answer.ok) return answer;
  let facts = null;
  try {
    facts = await answer.json();
  } catch {
    // not JSON: the status alone must do
  }
  throw new Refused(answer.status, facts);
}

/**
 * @param {Response} answer
 * @returns {Promise<any>}
 */
async function json(answer) {
  try {
    return await answer.json();
  } catch {
    throw new Unreachable("the connection broke off");
  }
}

/** @param {string} route */
const get = async (route) => json(await request(`${API}/${route}`));

/**
 * @param {string} key
 * @param {string} verb
 * @param {object} body
 * @param {string} [query]
 */
const post = async (key, verb, body, query = "") =>
  json(
    await request(address(key, verb) + query, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Adclick": "1" },
      body: JSON.stringify(body),
    }),
  );

export const health = () => get("health");

/** @param {string} order */
export const images = (order) => get(`images?order=${order}`);

/**
 * @param {string} key
 * @param {string} annotator
 * @param {string} order
 */
export const open = (key, annotator, order) => post(key, "open", { annotator }, `?order=${order}`);

/**
 * @param {string} key
 * @param {{annotator: string, revision: number, action: object, seconds: number}} body
 */
export const act = (key, body) => post(key, "actions", body);

/**
 * @param {string} key
 * @param {{annotator: string, revision: number, state: string, seconds: number, order: string}} body
 */
export const save = (key, body) => post(key, "save", body);

/**
 * @param {string} key
 * @param {string} annotator
 * @param {number} seconds
 */
export const ping = (key, annotator, seconds) => post(key, "ping", { annotator, seconds });

/**
 * Give an image back; also while the page is being closed.
 * @param {string} key
 * @param {string} annotator
 */
export const release = (key, annotator) =>
  fetch(address(key, "release"), {
    method: "POST",
    keepalive: true,
    headers: { "Content-Type": "application/json", "X-Adclick": "1" },
    body: JSON.stringify({ annotator }),
  }).catch(() => undefined);

/**
 * A picture, decoded. Colours are left as the file has them.
 * @param {string} key
 * @param {string} what
 * @param {AbortSignal} [signal]
 */
export async function picture(key, what, signal) {
  const answer = await request(address(key, what), { signal });
  return createImageBitmap(await answer.blob());
}

/**
 * A tile of a large picture.
 * @param {string} key
 * @param {{level: number, row: number, column: number}} place
 * @param {AbortSignal} signal
 */
export const tile = (key, { level, row, column }, signal) =>
  picture(key, `tile?level=${level}&row=${row}&column=${column}`, signal);
