// The strip: one region in the order of time, cut into runs. One key labels a whole run.
import { ask, isWriting, make, newKey, notice, number, onLanguage, pictureOf, Refused, say, told, when } from "/static/web.js";
import { classOf, loadClasses, savingLine, tellStale } from "/static/keys.js";
import { Outbox } from "/static/outbox.js";

const SHOWN = 6;
const $ = (id) => document.getElementById(id);
const outbox = new Outbox({ changed: savingLine($("saving"), say, number), stale: tellStale, refused: (error) => notice(say("Not saved:"), " ", told(error)) });
let classes = [];
let items = [];
let runs = [];
let at = 0;
let opened = false;
let sensitivity = 1;
let past = [];

async function load() {
  const [camera, region] = JSON.parse($("place").value || '["",""]');
  $("empty").replaceChildren(say("Loading…"));
  try {
    const answer = await ask("POST", "/api/strip", { camera, region, count: Number($("length").value), sensitivity });
    items = answer.items;
    runs = answer.runs.map((run) => ({ ...run, name: null, out: false }));
    [at, opened, past] = [0, false, []];
    $("empty").replaceChildren(...(items.length ? [] : [say("Nothing is left to label. Thank you!")]));
    draw();
  } catch (error) {
    if (error instanceof Refused && error.answer.error !== "preparing") $("empty").replaceChildren(told(error));
    else setTimeout(load, 1000);
  }
}

function picked(run) {
  const places = [];
  const length = run.end - run.start;
  const count = Math.min(length, SHOWN);
  for (let i = 0; i < count; i++) places.push(run.start + Math.round((i * (length - 1)) / Math.max(1, count - 1)));
  return places;
}

function draw() {
  $("runs").replaceChildren(...runs.map(drawn));
  const done = runs.filter((run) => run.name || run.out).length;
  $("progress").replaceChildren(say("{} of {} runs, {} frames", number(done), number(runs.length), number(items.length)));
  $("open").setAttribute("aria-pressed", String(opened));
  const current = $("runs").children[at];
  current?.scrollIntoView({ block: "nearest" });
}

function drawn(run, place) {
  const all = place === at && opened;
  const places = all ? Array.from({ length: run.end - run.start }, (_, i) => run.start + i) : picked(run);
  return make(
    "li",
    { class: "run", "aria-current": place === at ? "true" : null, "data-state": run.name ? "done" : run.out ? "out" : "open", onclick: () => go(place) },
    make("p", {}, make("strong", {}, ...(run.name ? [run.name] : run.out ? [say("left out")] : run.proposed ? [say("Proposed: {}", run.proposed)] : [say("no class yet")])), " ", ...stretch(run)),
    make(
      "div",
      { class: "film" },
      ...places.map((frame) => {
        const image = make("img", { src: pictureOf(items[frame], 160), alt: when(items[frame].at), loading: "lazy" });
        return all && frame > run.start ? make("button", { type: "button", onclick: (event) => (event.stopPropagation(), split(frame)) }, image, make("span", { class: "unseen" }, say("A new run begins here"))) : image;
      }),
    ),
  );
}

function stretch({ start, end }) {
  const first = when(items[start].at);
  if (end - start === 1) return [say("one frame"), `, ${first}`];
  return [say("{} frames, {} to {}", number(end - start), first, when(items[end - 1].at))];
}

function go(place) {
  if (place === at) return;
  at = Math.max(0, Math.min(runs.length - 1, place));
  opened = false;
  draw();
}

function forward() {
  opened = false;
  const next = runs.findIndex((run, place) => place > at && !run.name && !run.out);
  if (next >= 0) at = next;
  else if (at < runs.length - 1) at += 1;
  draw();
  if (runs.every((run) => run.name || run.out)) finish();
}

async function finish() {
  await outbox.send();
  const rate = await ask("GET", "/api/spot-checks");
  const percent = (value) => number(100 * value, 1);
  $("rate").replaceChildren(
    ...(rate.checked ? [say("Spot checks: {} of {} wrong, {} % (95 %: {} to {} %)", rate.wrong, rate.checked, percent(rate.share), percent(rate.low), percent(rate.high))] : []),
    " ",
    make("a", { href: "/spot-checks" }, say("{} frames wait for a spot check", rate.items.length)),
    " ",
    make("button", { type: "button", class: "main", onclick: load }, say("The next frames")),
  );
}

function label(name) {
  const run = runs[at];
  if (!run || !name || run.name === name) return;
  if (run.name) takeBack(run);
  run.name = name;
  run.out = false;
  run.acts = items.slice(run.start, run.end).map((item) => ({ act: "label", key: newKey(), frame: item.frame, region: item.region, words: { [name]: true }, base: item.base ?? "", source: "strip" }));
  past.push(run);
  outbox.put(...run.acts);
  forward();
}

function takeBack(run) {
  outbox.put(...run.acts.map(({ key }) => ({ act: "undo", key })));
  Object.assign(run, { name: null, acts: null });
}

function undo() {
  const run = past.pop();
  if (!run) return;
  if (run.acts) takeBack(run);
  run.out = false;
  at = runs.indexOf(run);
  draw();
}

function leave() {
  const run = runs[at];
  if (!run) return;
  if (run.name) takeBack(run);
  run.out = true;
  past.push(run);
  forward();
}

function split(frame) {
  const run = runs[at];
  if (run.name) return;
  runs.splice(at, 1, { ...run, end: frame }, { ...run, start: frame });
  draw();
}

function join() {
  const run = runs[at];
  const before = runs[at - 1];
  if (!before || run.name || before.name) return;
  runs.splice(at - 1, 2, { ...before, end: run.end });
  at -= 1;
  draw();
}

function cutAgain(by) {
  sensitivity = Math.min(20, Math.max(0.05, sensitivity * by));
  load();
}

const open = () => {
  opened = !opened;
  draw();
};
const keys = { Enter: () => label(runs[at]?.proposed), " ": open, Backspace: join, z: undo, "+": () => cutAgain(2), "-": () => cutAgain(0.5), ArrowLeft: () => go(at - 1), ArrowRight: () => go(at + 1), ArrowDown: leave };

document.addEventListener("keydown", (event) => {
  if (isWriting(event) || (event.repeat && !event.key.startsWith("Arrow"))) return;
  if ((event.key === "Enter" || event.key === " ") && event.target.closest("a, button")) return;
  const name = classOf(classes, event.key);
  const action = name ? () => label(name) : keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

const press = { accept: keys.Enter, open, join, leave, undo, fewer: keys["-"], more: keys["+"] };
for (const [id, action] of Object.entries(press)) $(id).addEventListener("click", action);
for (const id of ["place", "length"]) $(id).addEventListener("change", load);
onLanguage(draw);

async function begin() {
  classes = await loadClasses($("classes"), label);
  try {
    const { places } = await ask("GET", "/api/places");
    $("place").replaceChildren(...places.map(({ camera, region }) => make("option", { value: JSON.stringify([camera, region]) }, `${camera} · ${region}`)));
    load();
  } catch {
    setTimeout(begin, 1000);
  }
}
begin();
