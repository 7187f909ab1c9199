// Small pictures that lead to their own page, and words that the server says in both languages.
import { make, number, pictureOf, say, when } from "/static/web.js";

export const words = {};

// A key of the server, as near_duplicate, in both languages; names that people gave stay.
export function worded(key) {
  const found = words[key];
  if (!found) return document.createTextNode(key);
  const both = document.createDocumentFragment();
  both.append(make("span", { lang: "en" }, found[0]), make("span", { lang: "es" }, found[1]));
  return both;
}

export const wordedNow = (key) => (words[key] ?? [key, key])[document.documentElement.lang === "es" ? 1 : 0];

const named = ({ frame, region }) => `frame=${encodeURIComponent(frame)}&region=${encodeURIComponent(region)}`;
export const linkOf = (item) => `/data/picture?${named(item)}`;
const sourceOf = (item) => (item.region ? pictureOf(item, 320) : `/picture/frame?frame=${encodeURIComponent(item.frame)}&side=320`);

export function shown(item) {
  const picture = make("img", { src: sourceOf(item), alt: "", loading: "lazy" });
  picture.addEventListener("error", () => picture.replaceWith(make("span", { class: "unshown" }, say("This picture cannot be shown."))));
  return picture;
}

export function tile(item) {
  const lines = [make("span", { class: "note" }, [item.region, item.camera].filter(Boolean).join(" · ")), make("span", { class: "note" }, when(item.at))];
  const link = make("a", { class: "tile", href: linkOf(item) }, shown(item), make("span", { class: "name" }, ...headOf(item)), ...lines);
  return make("li", {}, link);
}

function headOf(item) {
  const parts = [];
  if (item.way) parts.push(`${item.way[0] || "–"} → ${item.way[1] || "–"}`);
  else if (item.classes?.length) parts.push(item.classes.join(", "), item.tied ? " ?" : "");
  else if (item.region) parts.push(say("no label"));
  if (item.predicted) parts.push(` → ${item.predicted} ${number(100 * item.certainty)} %`);
  if (item.alike != null) parts.push(` · ${number(100 * item.alike)} %`);
  for (const kind of item.issues ?? []) parts.push(make("span", { class: "issue" }, worded(kind)));
  return parts;
}

// A frame beside the earlier one that it repeats.
export function pair(item) {
  const earlier = { frame: item.repeats, region: "", camera: item.repeats.replace(/\/[^/]*$/, ""), at: "" };
  const side = (each, phrase) => make("a", { class: "tile", href: linkOf(each) }, shown(each), make("span", { class: "name" }, phrase), make("span", { class: "note" }, each.frame.split("/").at(-1)));
  return make("li", { class: "pair" }, side(earlier, say("The earlier one")), side(item, say("It repeats that")));
}

// Arrow keys walk over the tiles as they lie on the screen.
export function walk(list) {
  list.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a.tile")];
    const at = links.indexOf(event.target.closest("a.tile"));
    if (at < 0) return;
    const top = links[at].offsetTop;
    const columns = Math.max(1, links.filter((link) => link.offsetTop === top).length);
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!by || !links[at + by]) return;
    event.preventDefault();
    links[at + by].focus();
  });
}
