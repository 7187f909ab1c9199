// What every page needs: two languages, talking to the server, small ways to build the page.
const root = document.documentElement;
const meta = (name) => document.querySelector(`meta[name="besana-${name}"]`)?.content ?? "";
const spanish = JSON.parse(document.getElementById("words").textContent);

export const person = { name: meta("person"), role: meta("role") };
let token = meta("token");

// Make an element: its attributes, listeners (onclick) and children, texts among them.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

const filled = (phrase, values) => {
  let next = 0;
  return phrase.replace(/\{(\d*)\}/g, (_, place) => String(values[place === "" ? next++ : Number(place)]));
};

// Say a phrase of the table in both languages; the style shows the chosen one.
export function say(phrase, ...values) {
  const both = document.createDocumentFragment();
  const other = spanish[phrase] ?? phrase;
  both.append(make("span", { lang: "en" }, filled(phrase, values)), make("span", { lang: "es" }, filled(other, values)));
  return both;
}

// The same as a plain text in the language shown now, where no element can stand.
export const sayNow = (phrase, ...values) =>
  filled(root.lang === "es" ? (spanish[phrase] ?? phrase) : phrase, values);

// Why the server refused, in both languages where it is one of its own sentences.
export const told = (error) => say(error.message);

export function when(iso) {
  if (!iso) return "";
  return new Date(iso).toLocaleString(root.lang, { dateStyle: "short", timeStyle: "medium", timeZone: "UTC" });
}

export const number = (value, digits = 0) =>
  Number(value).toLocaleString(root.lang, { maximumFractionDigits: digits, minimumFractionDigits: digits });

export class Refused extends Error {
  constructor(status, answer) {
    super(answer.problem ?? String(status));
    this.status = status;
    this.answer = answer;
  }
}

// Ask the server; a refusal is an error with its answer, no connection is a TypeError.
export async function ask(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  const isFile = body instanceof Blob;
  if (method !== "GET") {
    headers["Content-Type"] = isFile ? "application/octet-stream" : "application/json";
    headers["X-Besana-Token"] = token;
  }
  const options = { method, headers, credentials: "same-origin", redirect: "error", signal };
  if (method !== "GET") options.body = isFile ? body : JSON.stringify(body ?? {});
  const reply = await fetch(path, options);
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refused(reply.status, answer);
  return answer;
}

// After signing in again elsewhere the session has another token.
export async function renewToken() {
  const me = await ask("GET", "/api/me");
  token = me.token;
  return me;
}

// What a page needs to begin: asked again while the connection is cut or the server is busy.
export async function askUntil(method, path) {
  for (let wait = 500; ; wait = Math.min(15000, 2 * wait)) {
    try {
      return await ask(method, path);
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      await new Promise((again) => setTimeout(again, wait));
    }
  }
}

export function notice(...content) {
  const line = make("p", {}, ...content);
  document.getElementById("notices").replaceChildren(line);
  setTimeout(() => line.remove(), 8000);
}

// A name for something that is done once. `crypto.randomUUID` needs HTTPS, which a farm may not have.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const pictureOf = (item, side = 1024) =>
  `/picture/sample?frame=${encodeURIComponent(item.frame)}&region=${encodeURIComponent(item.region)}&side=${side}&mark=${item.mark}`;

// While somebody writes, keys are letters.
export const isWriting = (event) =>
  event.target.closest("input, textarea, select, dialog[open]") != null || event.ctrlKey || event.metaKey || event.altKey;

const listeners = [];
export const onLanguage = (listener) => listeners.push(listener);

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    root.lang = button.dataset.language;
    document.title = root.lang === "es" ? root.dataset.titleEs : root.dataset.titleEn;
    document.cookie = `besana-language=${root.lang}; path=/; max-age=31536000; samesite=strict`;
    for (const each of document.querySelectorAll("[data-language]")) {
      each.setAttribute("aria-pressed", String(each === button));
    }
    for (const listener of listeners) listener();
  });
}

// On a phone the rooms are wider than the screen.
document.querySelector(".rooms [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

document.getElementById("sign-out")?.addEventListener("click", async () => {
  await ask("POST", "/api/sign-out");
  location.assign("/sign-in");
});
