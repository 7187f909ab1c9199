// The grid: pictures that look alike with a proposed class. Enter accepts all, a key changes one.
import { ask, isWriting, make, newKey, notice, number, onLanguage, pictureOf, Refused, say, told } from "/static/web.js";
import { classOf, loadClasses, savingLine, tellStale } from "/static/keys.js";
import { Outbox } from "/static/outbox.js";

const $ = (id) => document.getElementById(id);
const tab = newKey();
const outbox = new Outbox({ changed: savingLine($("saving"), say, number), stale: (act, current) => (tellStale(act, current), load()), refused: (error) => (notice(say("Not saved:"), " ", told(error)), load()) });
let classes = [];
let tiles = [];
let at = 0;
let forAll = false;
let past = [];
let busy = false;

async function load() {
  if (busy) return;
  busy = true;
  const known = past.slice(-3).flatMap(({ acts }) => acts.map((act) => [act.frame, act.region]));
  try {
    const answer = await ask("POST", "/api/grid", { count: Number($("size").value), tab, known: known.slice(-200) });
    tiles = answer.items.map((item) => ({ item, name: item.proposed ?? null, out: false }));
    at = 0;
    const { part_done, part, labelled, samples } = answer.progress;
    $("progress").replaceChildren(say("{} of your {} pictures · {} of all {} are labelled", number(part_done + outbox.waiting), number(part), number(labelled), number(samples)));
    draw();
  } catch (error) {
    if (!(error instanceof Refused) || error.answer.error === "preparing") setTimeout(load, 1000);
  } finally {
    busy = false;
  }
}

function draw() {
  $("empty").hidden = tiles.length > 0;
  $("empty").replaceChildren(say("Nothing is left to label. Thank you!"));
  $("tiles").replaceChildren(
    ...tiles.map((tile, place) => {
      const button = make("button", { type: "button", class: "tile", onclick: () => turn(place), onfocus: () => choose(place) }, make("img", { src: pictureOf(tile.item, 320), alt: "" }), make("span", { class: "name" }));
      tile.button = button;
      return make("li", {}, button);
    }),
  );
  tiles.forEach((_, place) => show(place));
  tiles[0]?.button.focus();
  $("accept").disabled = tiles.length === 0;
}

function show(place) {
  const tile = tiles[place];
  const surely = tile.item.proposed === tile.name && tile.item.certainty ? ` ${number(100 * tile.item.certainty)} %` : "";
  const name = tile.button.querySelector(".name");
  name.replaceChildren(...(tile.out ? [say("left out")] : tile.name ? [tile.name + surely] : [say("no class yet")]));
  tile.button.dataset.state = tile.out ? "out" : tile.name ? (tile.name === tile.item.proposed ? "proposed" : "changed") : "none";
}

function choose(place) {
  at = place;
}

// A click goes through the classes; a key names one.
function turn(place) {
  const names = classes.map((each) => each.name);
  const tile = tiles[place];
  tile.out = false;
  tile.name = names[(names.indexOf(tile.name) + 1) % names.length];
  show(place);
}

function give(name) {
  if (!tiles.length) return;
  if (forAll) {
    setForAll(false);
    tiles.forEach((tile, place) => {
      Object.assign(tile, { name, out: false });
      show(place);
    });
    return;
  }
  Object.assign(tiles[at], { name, out: false });
  show(at);
  move(1);
}

function move(by) {
  at = Math.min(tiles.length - 1, Math.max(0, at + by));
  tiles[at]?.button.focus();
}

function leave() {
  if (!tiles.length) return;
  tiles[at].out = !tiles[at].out;
  show(at);
  move(1);
}

function setForAll(on) {
  forAll = on;
  $("all").setAttribute("aria-pressed", String(on));
}

function accept() {
  const taken = tiles.filter((tile) => tile.name && !tile.out);
  const acts = taken.map(({ item, name }) => ({ act: "label", key: newKey(), frame: item.frame, region: item.region, words: { [name]: true }, base: "", source: "grid" }));
  if (acts.length) {
    past.push({ acts, tiles });
    outbox.put(...acts);
  }
  tiles = [];
  draw();
  $("empty").replaceChildren(say("Loading…"));
  load();
}

function undo() {
  const last = past.pop();
  if (!last) return;
  outbox.put(...last.acts.map(({ key }) => ({ act: "undo", key })));
  tiles = last.tiles;
  draw();
}

const columns = () => Math.max(1, Math.round($("tiles").clientWidth / (tiles[0]?.button.parentElement.offsetWidth || 1)));
const keys = { Enter: accept, " ": leave, z: undo, a: () => setForAll(!forAll), ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(-columns()), ArrowDown: () => move(columns()) };

document.addEventListener("keydown", (event) => {
  if (isWriting(event) || (event.repeat && !event.key.startsWith("Arrow"))) return;
  const control = event.target.closest("button:not(.tile), a");
  if (control && (event.key === "Enter" || event.key === " ")) return;
  const name = classOf(classes, event.key);
  const action = event.key === "a" && !name ? keys.a : name ? () => give(name) : keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const [id, action] of Object.entries({ accept, leave, undo, all: () => setForAll(!forAll) })) $(id).addEventListener("click", action);
$("size").addEventListener("change", load);
onLanguage(() => tiles.forEach((_, place) => show(place)));
loadClasses($("classes"), give).then((found) => {
  classes = found;
  load();
});
