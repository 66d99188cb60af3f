/** What this browser remembers between visits; nothing when it must not. */
export const memory = {
  /** @param {string} name */
  get(name) {
    try {
      return localStorage.getItem(`adclick.${name}`);
    } catch {
      return null;
    }
  },
  /** @param {string} name @param {string} value */
  set(name, value) {
    try {
      localStorage.setItem(`adclick.${name}`, value);
    } catch {
      // kept for this visit only
    }
  },
};
