// The data page: filters that stand in the address, counts, bars over time, pages of pictures.
import { ask, askUntil, isWriting, make, notice, number, onLanguage, Refused, say, sayNow, told } from "/static/web.js";
import { pair, tile, walk, words, worded, wordedNow } from "/static/tiles.js";
import { draw, shadeOf, table } from "/static/timeline.js";
import { Compared } from "/static/versions.js";

const $ = (id) => document.getElementById(id);
const FIELDS = {
  camera: "Camera",
  region: "Region",
  first: "First day",
  last: "Last day",
  class: "Class",
  labelled: "Labelled",
  issue: "Issue",
  dataset: "Dataset",
  split: "Part",
  model: "Model",
  predicted: "Predicted",
  disagree: "Disagreement",
};
const OF_FRAMES = ["camera", "first", "last", "issue"];
const FIXED = {
  yes: "with a label",
  no: "without a label",
  any: "with any issue",
  none: "without issues",
  people: "people disagree",
  model: "model and label differ",
};
let choices;
let shown = new URLSearchParams();
let compared;
let asked;

const view = () => shown.get("show") || "samples";
const fields = () => (view() === "frames" ? OF_FRAMES : Object.keys(FIELDS));

function optionsOf(name) {
  const lists = { camera: choices.cameras, region: choices.regions, class: choices.classes, issue: choices.issues, dataset: choices.datasets, split: choices.splits, model: choices.models, predicted: choices.classes };
  const fixed = { labelled: ["yes", "no"], issue: ["any", "none"], disagree: ["people", "model"] }[name] ?? [];
  const option = (value, text) => make("option", { value, selected: shown.get(name) === value }, text);
  const known = lists[name] ?? [];
  const other = shown.get(name);
  const unknown = other && !known.includes(other) && !fixed.includes(other) ? [option(other, other)] : [];
  return [make("option", { value: "" }, sayNow("all")), ...fixed.map((value) => option(value, sayNow(FIXED[value]))), ...known.map((value) => option(value, wordedNow(value))), ...unknown];
}

function drawForm() {
  const control = (name) => {
    if (name === "first" || name === "last") return make("input", { id: `by-${name}`, name, type: "date", value: shown.get(name) ?? "" });
    return make("select", { id: `by-${name}`, name }, ...optionsOf(name));
  };
  const labelled = fields().map((name) => make("p", { class: "field" }, make("label", { for: `by-${name}` }, say(FIELDS[name])), control(name)));
  $("filter").replaceChildren(...labelled, make("p", { class: "field" }, make("button", { type: "button", onclick: () => go({}, view()) }, say("No filter"))));
}

// Go to what a filter shows; the address tells it, so that it can be sent, and gone back to.
function go(values, show = view()) {
  const next = new URLSearchParams();
  if (show !== "samples") next.set("show", show);
  for (const [key, value] of Object.entries(values)) if (value) next.set(key, value);
  history.pushState(null, "", next.size ? `/data?${next}` : "/data");
  return load();
}

const given = () => Object.fromEntries(fields().map((name) => [name, $(`by-${name}`)?.value ?? ""]));

async function load() {
  shown = new URLSearchParams(location.search);
  for (const link of document.querySelectorAll("[data-show]")) {
    if (link.dataset.show === view()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const ofVersions = view() === "versions";
  $("filters").hidden = $("sum").hidden = ofVersions;
  $("compare").hidden = $("changes").hidden = !ofVersions;
  if (ofVersions) return compared.load(shown);
  drawForm();
  asked?.abort();
  asked = new AbortController();
  const filter = new URLSearchParams([...shown].filter(([key, value]) => value && !["after", "before"].includes(key)));
  $("tiles").setAttribute("aria-busy", "true");
  try {
    await Promise.all([loadPage(shown, asked.signal), loadCounts(filter, asked.signal)]);
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    if (!(error instanceof Refused)) throw error;
    notice(told(error));
  }
  $("tiles").removeAttribute("aria-busy");
  return undefined;
}

async function loadPage(query, signal) {
  const page = await ask("GET", `/api/pictures?${query}`, null, signal);
  const repeats = /_duplicate$/.test(shown.get("issue") ?? "");
  $("tiles").classList.toggle("pairs", repeats);
  $("tiles").replaceChildren(...page.items.map((item) => (repeats && item.repeats ? pair(item) : tile(item))));
  $("empty").hidden = page.items.length > 0;
  $("empty").replaceChildren(say("Nothing fits this filter."));
  turn("previous", "before", page.previous);
  turn("next", "after", page.next);
  $("pager").hidden = !page.previous && !page.next;
}

function turn(id, key, name) {
  $(id).disabled = !name;
  $(id).onclick = async () => {
    await go({ ...given(), [key]: name });
    $("tiles").querySelector("a")?.focus();
  };
}

async function loadCounts(filter, signal) {
  const found = await ask("GET", `/api/pictures/counts?${filter}`, null, signal);
  const frames = view() === "frames";
  const nameOf = (name) => (frames ? say("Frames") : name === "" ? say("no label") : document.createTextNode(name));
  $("total").replaceChildren(frames ? say("Frames: {}", number(found.total)) : say("Samples: {}", number(found.total)));
  const share = (count) => number((100 * count) / Math.max(1, found.total), 1);
  const lines = found.series.map((name, place) => [name, place]).filter(([, place]) => found.counts[place]);
  $("counted").replaceChildren(
    ...(frames ? [] : lines.map(([name, place]) => make("li", {}, key(name, place), make("button", { type: "button", class: "plain", onclick: () => go({ ...given(), class: name, labelled: name ? "" : "no" }) }, nameOf(name)), ` ${number(found.counts[place])} · ${share(found.counts[place])} %`))),
    ...(found.untimed ? [make("li", {}, say("{} without a time", number(found.untimed)))] : []),
    ...(frames ? choices.issues.map((kind) => make("li", {}, make("button", { type: "button", class: "plain", onclick: () => go({ ...given(), issue: kind }) }, worded(kind)), ` ${number(choices.counted[kind] ?? 0)}`)) : []),
  );
  $("days").hidden = !found.timeline.bars.length;
  $("timeline").replaceChildren(draw(found, $("days").clientWidth || 700, sayNow("Pictures over time"), (first, last) => go({ ...given(), first, last })));
  $("day-table").replaceChildren(make("caption", { class: "unseen" }, say("Pictures over time")), ...table(found, nameOf));
}

function key(name, place) {
  const box = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  box.setAttribute("class", "key");
  box.setAttribute("viewBox", "0 0 10 10");
  box.setAttribute("aria-hidden", "true");
  rect.setAttribute("class", shadeOf(name, place));
  rect.setAttribute("width", "10");
  rect.setAttribute("height", "10");
  box.append(rect);
  return box;
}

$("filter").addEventListener("change", (event) => {
  const id = event.target.id;
  go(given()).then(() => $(id)?.focus());
});
$("filter").addEventListener("submit", (event) => event.preventDefault());
for (const link of document.querySelectorAll("[data-show]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({}, link.dataset.show);
  });
}
document.addEventListener("keydown", (event) => {
  if (isWriting(event)) return;
  const button = { n: "next", p: "previous" }[event.key.toLowerCase()];
  if (button && !$(button).disabled && !$("pager").hidden) $(button).click();
});
addEventListener("popstate", load);
if (matchMedia("(max-width: 48rem)").matches) $("filters").open = false;
walk($("tiles"));

$("empty").hidden = false;
$("empty").replaceChildren(say("The pictures are being counted."));
choices = await askUntil("GET", "/api/pictures/choices");
$("empty").hidden = true;
Object.assign(words, choices.words);
compared = new Compared({ $, go, turn });
onLanguage(load);
load();
