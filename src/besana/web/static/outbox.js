// What was done but is not saved yet: kept in the browser's own database until the server has it.
// One act has one key, so sending it again after a cut changes nothing.
import { ask, person, Refused, renewToken } from "/static/web.js";

const STORE = "acts";
const MOST = 100;

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(`besana-${person.name}`, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "place", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

const done = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });

const got = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export class Outbox {
  // listener(state): {waiting, offline, signedOut}; stale(act, current): somebody said otherwise.
  constructor({ changed, stale, refused }) {
    this.changed = changed;
    this.stale = stale;
    this.refused = refused;
    this.database = opened();
    this.waiting = 0;
    this.offline = false;
    this.signedOut = false;
    this.sending = false;
    this.wait = 0;
    window.addEventListener("online", () => this.send());
    document.addEventListener("visibilitychange", () => this.send());
    window.addEventListener("beforeunload", (event) => {
      if (this.waiting && this.offline) event.preventDefault();
    });
    this.count().then(() => this.send());
  }

  async count() {
    const database = await this.database;
    this.waiting = await got(database.transaction(STORE).objectStore(STORE).count());
    this.tell();
  }

  tell() {
    this.changed({ waiting: this.waiting, offline: this.offline, signedOut: this.signedOut });
  }

  // Keep acts, in their order; they are sent at once if there is a connection.
  async put(...acts) {
    this.waiting += acts.length;
    this.tell();
    const database = await this.database;
    const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
    for (const act of acts) transaction.objectStore(STORE).add({ ...act });
    await done(transaction);
    this.send();
  }

  async send() {
    if (this.sending) {
      this.again = true;
      return;
    }
    this.sending = true;
    clearTimeout(this.timer);
    try {
      // Two tabs share the database; only one of them sends at a time.
      if (navigator.locks) await navigator.locks.request("besana-outbox", () => this.sendAll());
      else await this.sendAll();
      this.wait = 0;
    } catch (error) {
      this.failed(error);
    } finally {
      this.sending = false;
    }
    await this.count();
    if (this.again) {
      this.again = false;
      this.send();
    }
  }

  async sendAll() {
    const database = await this.database;
    for (;;) {
      const all = await got(database.transaction(STORE).objectStore(STORE).getAll(null, MOST));
      if (!all.length) return;
      const acts = all.map(({ place, ...act }) => act);
      const { results } = await this.sendOnce(acts);
      this.offline = this.signedOut = false;
      const transaction = database.transaction(STORE, "readwrite");
      for (const act of all) transaction.objectStore(STORE).delete(act.place);
      await done(transaction);
      results.forEach((result, place) => result.stale && this.stale(acts[place], result.current));
      // A class that was retired meanwhile, say: nobody shall believe that such a label was saved.
      const refused = results.find((result, place) => result.error && acts[place].act !== "undo");
      if (refused) this.refused(new Refused(422, refused));
      this.waiting = Math.max(0, this.waiting - all.length);
      this.tell();
    }
  }

  async sendOnce(acts) {
    try {
      return await ask("POST", "/api/acts", { acts }, AbortSignal.timeout(20000));
    } catch (error) {
      if (!(error instanceof Refused) || error.answer.error !== "csrf") throw error;
      const me = await renewToken();
      if (me.name !== person.name) throw new Refused(401, { error: "signed_out" });
      return ask("POST", "/api/acts", { acts });
    }
  }

  failed(error) {
    this.signedOut = error instanceof Refused && error.status === 401;
    this.offline = !(error instanceof Refused) || error.status >= 500;
    if (error instanceof Refused && error.status === 422) this.refused(error);
    this.wait = Math.min(30000, Math.max(500, this.wait * 2));
    this.timer = setTimeout(() => this.send(), this.wait * (0.5 + Math.random()));
    this.tell();
  }
}
