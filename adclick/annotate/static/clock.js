/** Working time: from one sign of life to the next, each gap counted up to the idle limit. */

const IDLE_S = 30;

export class Clock {
  /** @param {() => number} [now] in milliseconds */
  constructor(now = () => performance.now()) {
    this.now = now;
    this.collected = 0;
    /** @type {number | null} */
    this.last = now();
    for (const sign of ["pointermove", "pointerdown", "keydown", "wheel"]) {
      addEventListener(sign, () => this.touch(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.touch();
      this.last = document.hidden ? null : this.now();
    });
  }

  touch() {
    const now = this.now();
    if (this.last !== null) this.collected += Math.min((now - this.last) / 1000, IDLE_S);
    this.last = now;
  }

  /** Start anew: another image. */
  restart() {
    this.collected = 0;
    this.last = document.hidden ? null : this.now();
  }

  /** The seconds since they were last taken. */
  take() {
    const now = this.now();
    if (this.last !== null && (now - this.last) / 1000 < IDLE_S) this.touch();
    const seconds = this.collected;
    this.collected = 0;
    return Math.round(seconds * 100) / 100;
  }

  /**
   * Seconds whose request has failed.
   * @param {number} seconds
   */
  giveBack(seconds) {
    this.collected += seconds;
  }
}
