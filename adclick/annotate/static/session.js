/**
 * One opened image: its actions go to the server in order, one at a time, and are kept until they
 * are answered, over lost connections and reloads.
 */

import * as api from "./api.js";

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 5_000;

/** @typedef {{action: any, started: number, uncertain: boolean}} Waiting */
/**
 * @typedef {object} Listener
 * @property {(session: any, started: number | null) => void} shown a new state of the image
 * @property {() => void} waiting what waits for an answer has changed
 * @property {(line: string) => void} refused an action was not applied
 * @property {(connected: boolean) => void} connected
 */

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** @param {string} key */
const shelf = (key) => `adclick.unsent.${key}`;

/**
 * Ask until the server can be reached.
 * @template T
 * @param {(tries: number) => Promise<T>} ask
 * @param {Listener} listener
 * @param {() => boolean} given_up
 * @returns {Promise<T>}
 */
async function persist(ask, listener, given_up) {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await ask(tries);
      listener.connected(true);
      return answer;
    } catch (error) {
      if (!(error instanceof api.Unreachable) || given_up()) throw error;
      listener.connected(false);
      await pause(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries));
    }
  }
}

/** An image that this annotator holds. */
export class Session {
  /**
   * @param {string} key
   * @param {string} annotator
   * @param {import("./clock.js").Clock} clock
   * @param {Listener} listener
   */
  constructor(key, annotator, clock, listener) {
    this.key = key;
    this.annotator = annotator;
    this.clock = clock;
    this.listener = listener;
    /** @type {any} */
    this.state = null;
    /** @type {Waiting[]} */
    this.waiting = [];
    this.closed = false;
    this.closedByServer = false; // saved: it is given back already
    /** @type {Promise<void> | null} */
    this.sending = null;
  }

  /** @param {string} order */
  async open(order) {
    const ask = () => api.open(this.key, this.annotator, order);
    this.state = await persist(ask, this.listener, () => this.closed);
    this.takeUnsent();
    this.listener.shown(this.state, null);
    this.pump();
  }

  /** Send an action after those that wait. @param {any} action */
  send(action) {
    this.waiting.push({ action, started: performance.now(), uncertain: false });
    this.keepUnsent();
    this.listener.waiting();
    this.pump();
  }

  /** All actions answered. */
  async settled() {
    while (this.sending) await this.sending;
  }

  /**
   * Finish the image.
   * @param {"done" | "normal" | "skipped" | "todo"} state
   * @param {string} order
   * @returns {Promise<{next: string | null}>}
   */
  async save(state, order) {
    await this.settled();
    const seconds = this.clock.take();
    const body = { annotator: this.annotator, revision: this.state.revision, state, seconds, order };
    const ask = async (/** @type {number} */ tries) => {
      try {
        return await api.save(this.key, body);
      } catch (error) {
        if (tries && this.isAfter(error)) return { next: null };
        throw error;
      }
    };
    try {
      return await persist(ask, this.listener, () => this.closed);
    } catch (error) {
      this.clock.giveBack(seconds);
      throw error;
    }
  }

  /** Keep the image, and tell the time worked. */
  async ping() {
    const seconds = this.clock.take();
    try {
      await api.ping(this.key, this.annotator, seconds);
    } catch (error) {
      this.clock.giveBack(seconds);
      if (error instanceof api.Refused) this.listener.refused(error.message);
    }
  }

  close() {
    this.closed = true;
  }

  pump() {
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
    });
  }

  async sendAll() {
    while (this.waiting.length && !this.closed) {
      const [first] = this.waiting;
      try {
        const state = await persist(() => this.sendOne(first), this.listener, () => this.closed);
        this.waiting.shift();
        this.state = state;
        this.keepUnsent();
        this.listener.shown(state, first.started);
      } catch (error) {
        if (this.closed) return;
        this.giveUp(error);
      }
    }
  }

  /** @param {Waiting} first */
  async sendOne(first) {
    const seconds = this.clock.take();
    const { annotator, state } = this;
    const body = { annotator, revision: state.revision, action: first.action, seconds };
    try {
      return await api.act(this.key, body);
    } catch (error) {
      // It may have arrived with only the answer lost: then the server is one revision ahead.
      if (first.uncertain && this.isAfter(error)) return /** @type {any} */ (error).facts.session;
      if (error instanceof api.Unreachable) first.uncertain = true;
      this.clock.giveBack(seconds);
      throw error;
    }
  }

  /** @param {unknown} error */
  isAfter(error) {
    const session = error instanceof api.Refused ? error.facts.session : null;
    return session?.revision === this.state.revision + 1;
  }

  /** Drop what was refused; all of it when the image is no more as it was thought to be. @param {unknown} error */
  giveUp(error) {
    const facts = error instanceof api.Refused ? error.facts : {};
    if (facts.session || facts.leased_by) {
      this.waiting = [];
      this.state = facts.session ?? this.state;
    } else {
      this.waiting.shift();
    }
    this.keepUnsent();
    this.listener.shown(this.state, null);
    this.listener.refused(error instanceof Error ? error.message : String(error));
  }

  keepUnsent() {
    try {
      if (!this.waiting.length) localStorage.removeItem(shelf(this.key));
      else {
        const actions = this.waiting.map((one) => one.action);
        const kept = { annotator: this.annotator, revision: this.state.revision, actions };
        localStorage.setItem(shelf(this.key), JSON.stringify(kept));
      }
    } catch {
      // No room, or storage is forbidden: a reload while the server is away loses these.
    }
  }

  takeUnsent() {
    let kept;
    try {
      kept = JSON.parse(localStorage.getItem(shelf(this.key)) ?? "null");
    } catch {
      kept = null;
    }
    if (kept?.annotator !== this.annotator) return;
    const applied = this.state.revision - kept.revision;
    if (applied === 0 || applied === 1) {
      const now = performance.now();
      this.waiting = kept.actions
        .slice(applied)
        .map((/** @type {any} */ action) => ({ action, started: now, uncertain: false }));
    }
    this.keepUnsent();
  }
}
