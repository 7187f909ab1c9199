// One by one: a key labels the picture and shows the next, which has long been loaded.
import { ask, askUntil, isWriting, make, newKey, notice, number, onLanguage, person, pictureOf, Refused, say, sayNow, told, when } from "/static/web.js";
import { Outbox } from "/static/outbox.js";
import { Viewer } from "/static/viewer.js";

const AHEAD = 20;
const LOW = 12;
const $ = (id) => document.getElementById(id);
const tab = newKey();
const mode = document.querySelector(".bench").dataset.mode;
const SOURCES = { label: "web", review: "review", "spot-check": "spot-check" };
const multi = document.querySelector(".bench").dataset.multi === "yes";
const viewer = new Viewer($("picture"), $("outline"), $("screen"));

const mayDescribe = ["reviewer", "admin"].includes(person.role);

const WHY = {
  disagree: "People disagree",
  unsure: "Somebody was unsure",
  suspect: "The model expects another class",
};

let classes = [];
let queue = [];
let current = null;
let chosen = new Set();
let note = "";
let past = [];
let undone = [];
let asking = false;
let finished = false;
let progress = null;
let choosingReason = false;

const outbox = new Outbox({ changed: showSaving, stale: showStale, refused: (error) => notice(say("Not saved:"), " ", told(error)) });

// What comes next

async function fill() {
  if (asking || queue.length >= LOW) return;
  asking = true;
  try {
    const known = [...(current ? [current] : []), ...queue].map((item) => [item.frame, item.region]);
    // What is on its way to the server must not come again.
    for (const { item } of past.slice(-60)) known.push([item.frame, item.region]);
    const answer = await more(known);
    const here = new Set(known.map((sample) => sample.join("/")));
    const fresh = answer.items.filter((item) => !here.has(`${item.frame}/${item.region}`));
    progress = answer.progress ?? null;
    // The server does not know yet of what is on its way.
    if (progress) progress.part_done += outbox.waiting;
    finished = fresh.length === 0;
    queue.push(...fresh.map(loaded));
  } catch (error) {
    const preparing = error instanceof Refused && error.answer.error === "preparing";
    if (error instanceof Refused && !preparing) notice(told(error));
    setTimeout(fill, preparing ? 500 : 3000);
  } finally {
    asking = false;
  }
  if (!current && queue.length) next();
  else if (!current) showEmpty();
  showProgress();
}

async function more(known) {
  if (mode === "review") {
    const answer = await ask("GET", `/api/review?opened=${$("opened").checked}`);
    if (!progress) $("progress").replaceChildren(say("Pictures that wait for a decision: {}", number(answer.waiting)));
    return answer;
  }
  if (mode === "spot-check") {
    const answer = await ask("GET", "/api/spot-checks");
    showRate(answer);
    return answer;
  }
  return ask("POST", "/api/next", { count: AHEAD, tab, known: known.slice(-200) });
}

function showRate({ checked, wrong, spread, share, low, high }) {
  const percent = (value) => number(100 * value, 1);
  $("rate").replaceChildren(
    checked
      ? say("{} of {} checked labels were wrong: {} % (95 %: {} to {} %) of the {} that were spread over runs.", wrong, checked, percent(share), percent(low), percent(high), number(spread))
      : say("{} labels were spread over runs; none is checked yet.", number(spread)),
  );
}

function loaded(item) {
  const image = new Image();
  image.src = pictureOf(item);
  image.decode().catch(() => {});
  return { ...item, image, base: item.base ?? "" };
}

function next() {
  current = queue.shift() ?? null;
  chosen = new Set();
  note = "";
  show();
  fill();
}

// What is on the screen

function show() {
  $("empty").hidden = current != null;
  if (current) viewer.show(current);
  else showEmpty();
  showCaption();
  showClasses();
  showProgress();
}

function showCaption() {
  const item = viewer.shown ?? current;
  $("caption").replaceChildren(
    ...(item ? [make("strong", {}, `${item.camera} · ${item.region}`), ` ${when(item.at)} UTC `] : []),
    ...(viewer.step ? [make("em", {}, say(viewer.step < 0 ? "Frames before: {}" : "Frames after: {}", number(Math.abs(viewer.step))))] : []),
    ...(current?.why ? [make("span", { class: "proposed" }, say(WHY[current.why]))] : []),
    ...Object.entries(current?.votes ?? {}).map(([who, what]) => make("span", { class: "vote" }, `${who}: ${what}`)),
    ...(current?.proposed ? [make("span", { class: "proposed" }, say("Proposed: {} ({} %)", current.proposed, number(100 * current.certainty)))] : []),
  );
}

function showEmpty() {
  viewer.clear();
  $("empty").hidden = false;
  $("empty").replaceChildren(say(finished ? "Nothing is left to label. Thank you!" : "Loading…"));
}

function showProgress() {
  if (!progress) return;
  $("progress").replaceChildren(
    say("{} of your {} pictures · {} of all {} are labelled", number(Math.max(0, progress.part_done)), number(progress.part), number(progress.labelled), number(progress.samples)),
  );
}

function showClasses() {
  for (const button of $("classes").querySelectorAll("button")) {
    const name = button.dataset.name;
    if (multi) button.setAttribute("aria-pressed", String(chosen.has(name)));
    button.classList.toggle("proposed", current?.proposed === name);
    button.disabled = !current;
  }
}

function showSaving({ waiting, offline, signedOut }) {
  const words = signedOut
    ? [say("Sign in again in another tab; {} are kept here.", number(waiting))]
    : offline
      ? [say("No connection; {} are kept here.", number(waiting))]
      : waiting
        ? [say("Saving {}…", number(waiting))]
        : [say("All saved")];
  $("saving").replaceChildren(...words);
  $("saving").dataset.state = signedOut || offline ? "cut" : waiting ? "busy" : "saved";
}

function showStale(act, now) {
  $("stale").hidden = false;
  const mine = Object.keys(act.words).filter((name) => act.words[name]).join(", ");
  const line = make("li", {}, say("{}: you said {}, and {} stands from another tab.", `${act.frame}/${act.region}`, mine, now ? now.class : "–"), " ");
  const end = () => {
    line.remove();
    $("stale").hidden = $("stale-list").children.length === 0;
  };
  line.append(
    make("button", { type: "button", onclick: () => (outbox.put({ ...act, key: newKey(), base: now ? now.id : "" }), end()) }, say("Take mine")),
    make("button", { type: "button", onclick: end }, say("Leave the other")),
  );
  $("stale-list").append(line);
}

async function loadClasses() {
  const answer = await askUntil("GET", "/api/classes");
  classes = answer.classes;
  $("no-classes").hidden = classes.length > 0;
  $("classes").replaceChildren(
    ...classes.map((each) =>
      make(
        "li",
        {},
        make(
          "button",
          { type: "button", "data-name": each.name, "aria-keyshortcuts": `${each.digit} ${each.letter}`.trim(), onclick: () => pick(each.name) },
          ...[each.digit, each.letter.toUpperCase()].filter(Boolean).map((key) => make("kbd", {}, key)),
          make("span", {}, each.name),
        ),
      ),
    ),
    ...(multi ? [make("li", {}, make("button", { type: "button", class: "main", id: "go-on", "aria-keyshortcuts": "Enter", onclick: saveChosen }, make("kbd", {}, "↵"), say("Save and go on")))] : []),
  );
  const described = classes.filter((each) => each.criteria || each.examples.length);
  $("criteria").replaceChildren(
    ...described.flatMap((each) => [
      make("dt", {}, each.name),
      make("dd", {}, each.criteria, make("span", { class: "examples" }, ...each.examples.map((example) => make("img", { src: pictureOf({ ...example, mark: "" }, 160), alt: each.name, loading: "lazy" })))),
    ]),
  );
  document.querySelector(".criteria").hidden = described.length === 0;
  showClasses();
}

// What people do

function pick(name) {
  if (!current) return;
  if (!multi) return act("label", { words: { [name]: true } });
  chosen.has(name) ? chosen.delete(name) : chosen.add(name);
  showClasses();
}

function saveChosen() {
  if (current) act("label", { words: Object.fromEntries(classes.map(({ name }) => [name, chosen.has(name)])) });
}

function act(kind, more) {
  const done = { act: kind, key: newKey(), frame: current.frame, region: current.region, base: current.base, note, source: SOURCES[mode], ...more };
  if (kind === "skip") delete done.base;
  past.push({ item: current, done });
  undone = [];
  if (progress) progress.part_done += 1;
  outbox.put(done);
  next();
}

function undo() {
  const last = past.pop();
  if (!last) return notice(say("There is nothing to take back."));
  undone.push(last);
  outbox.put({ act: "undo", key: last.done.key });
  if (current) queue.unshift(current);
  if (progress) progress.part_done -= 1;
  current = last.item;
  chosen = new Set(Object.keys(last.done.words ?? {}).filter((name) => last.done.words[name]));
  show();
}

function redo() {
  const last = undone.pop();
  if (!last) return notice(say("There is nothing to repeat."));
  if (current && current !== last.item) queue.unshift(current);
  const done = { ...last.done, key: newKey() };
  past.push({ item: last.item, done });
  if (progress) progress.part_done += 1;
  outbox.put(done);
  if (current === last.item) next();
  else {
    current = null;
    next();
  }
}

function chooseReason(open) {
  if (open && !current) return;
  choosingReason = open;
  $("reasons").hidden = !open;
  if (open) $("reasons").querySelector("button").focus();
  else if ($("reasons").contains(document.activeElement)) $("screen").focus();
}

function skip(reason) {
  chooseReason(false);
  if (reason && current) act("skip", { reason });
}

async function step(by) {
  if (current && (await viewer.move(by))) {
    showCaption();
    showBeside();
  }
}

function showBeside() {
  const { frames, at } = viewer.film;
  $("beside").replaceChildren(
    ...frames.map((frame, place) =>
      make("li", {}, make("button", { type: "button", "aria-current": place === at ? "true" : null, "aria-label": when(frame.at), onclick: () => step(place - viewer.film.at) }, make("img", { src: pictureOf(frame, 160), alt: "" }))),
    ),
  );
}

async function showFrame() {
  if (!current) return;
  const on = await viewer.toggleFrame();
  $("frame").setAttribute("aria-pressed", String(on));
}

async function showHistory() {
  if (!current) return;
  const where = `frame=${encodeURIComponent(current.frame)}&region=${encodeURIComponent(current.region)}`;
  const { events } = await ask("GET", `/api/history?${where}`);
  const lines = events.map((event) =>
    make("li", { class: event.taken_back ? "gone" : null }, `${when(event.at)} · ${event.who}: `, make("strong", {}, event.said), event.note ? ` — ${event.note}` : "", event.taken_back ? make("em", {}, " ", say("taken back")) : null),
  );
  $("history-list").replaceChildren(...(lines.length ? lines : [make("li", {}, say("Nothing yet."))]));
  $("history-dialog").showModal();
}

function writeNote() {
  if (!current) return;
  $("note-text").value = note;
  $("note-dialog").showModal();
}

// Reviewers and admins choose the pictures that show what a class is.
let exemplary = null;

function chooseExample() {
  exemplary = viewer.shown ?? current;
  if (!exemplary || !mayDescribe || !classes.length) return;
  $("example-classes").replaceChildren(...classes.map(({ name }) => make("li", {}, make("button", { type: "submit", value: name }, name))));
  $("example-dialog").showModal();
}

$("example-dialog").addEventListener("close", async () => {
  const name = $("example-dialog").returnValue;
  $("example-dialog").returnValue = "";
  if (!name) return;
  try {
    await ask("POST", "/api/examples", { name, frame: exemplary.frame, region: exemplary.region });
    notice(say("An example of {} now.", name));
    await loadClasses();
  } catch (error) {
    notice(error instanceof Refused ? told(error) : say("No connection; try again."));
  }
});

$("note-text").addEventListener("input", () => (note = $("note-text").value.trim()));

// Keys

const keys = {
  " ": () => chooseReason(true),
  z: undo,
  Z: redo,
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  f: showFrame,
  "+": () => viewer.zoom(1.4),
  "=": () => viewer.zoom(1.4),
  "-": () => viewer.zoom(1 / 1.4),
  h: showHistory,
  n: writeNote,
  x: chooseExample,
  r: () => viewer.full(true),
};

document.addEventListener("keydown", (event) => {
  if (isWriting(event) || (event.repeat && !event.key.startsWith("Arrow"))) return;
  if (choosingReason) {
    const reason = { 1: "unusable", 2: "unsure", Escape: "" }[event.key];
    if (reason === undefined) return;
    event.preventDefault();
    return skip(reason);
  }
  // A button that has the focus keeps its own space and Enter.
  if ((event.key === " " || event.key === "Enter") && event.target.closest("a, button, summary")) return;
  const key = event.key === "Z" || event.key.length > 1 ? event.key : event.key.toLowerCase();
  const picked = classes.find(({ digit, letter }) => digit === key || (letter && letter === key));
  const action = picked ? () => pick(picked.name) : key === "Enter" && multi ? saveChosen : keys[key];
  if (!action) return;
  event.preventDefault();
  action();
});

document.addEventListener("keyup", (event) => {
  if (event.key.toLowerCase() === "r") viewer.full(false);
});

const press = { skip: () => chooseReason(true), undo, redo, before: () => step(-1), after: () => step(1), frame: showFrame, "zoom-in": () => viewer.zoom(1.4), "zoom-out": () => viewer.zoom(1 / 1.4), note: writeNote, history: showHistory, example: chooseExample };
for (const [id, action] of Object.entries(press)) $(id).addEventListener("click", action);
for (const button of $("reasons").querySelectorAll("button")) button.addEventListener("click", () => skip(button.dataset.reason));
const full = $("full");
for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["blur", false]]) full.addEventListener(name, () => current && viewer.full(on));

viewer.moved = () => {
  showCaption();
  $("beside").replaceChildren();
};
$("opened")?.addEventListener("change", () => {
  queue = [];
  current = null;
  fill();
});
onLanguage(show);
$("picture").alt = "";
$("example").hidden = !mayDescribe;
loadClasses().then(fill);
setInterval(() => !document.hidden && fill(), 15000);
