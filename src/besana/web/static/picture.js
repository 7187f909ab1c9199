// One picture: the frame with its region, what was found, said and predicted, what looks like it.
import { ask, askUntil, isWriting, make, number, onLanguage, pictureOf, say, when } from "/static/web.js";
import { linkOf, tile, walk, words, worded } from "/static/tiles.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const item = { frame: query.get("frame") ?? "", region: query.get("region") ?? "" };
const asking = new URLSearchParams(item);
const FACTS = {
  camera: "Camera",
  captured_at: "Captured at",
  time_source: "Time is from",
  name: "File",
  sha256: "SHA-256",
  size_px: "Size",
  bands: "Bands",
  light: "Light",
  collected_at: "Collected at",
  recipe: "Recipe",
  shard: "Shard",
  prepared_at: "Prepared at",
};
let facts;

function show() {
  $("name").replaceChildren(item.region || say("Frame"), make("span", { class: "note" }, ` ${item.frame}`));
  $("frame").src = `/picture/frame?frame=${encodeURIComponent(item.frame)}`;
  $("frame").alt = item.frame;
  $("sample").hidden = !item.region;
  if (item.region) {
    $("sample").src = pictureOf({ ...item, mark: facts.mark });
    $("sample").alt = item.region;
  }
  $("regions").replaceChildren(...facts.regions.flatMap((region) => [make("a", { href: linkOf({ frame: item.frame, region }), "aria-current": region === item.region && "true" }, region), " "]));
  const said = facts.classes ?? [];
  $("said").replaceChildren(...(item.region ? [said.length ? make("strong", {}, said.join(", ")) : say("no label"), ...(facts.tied ? [" (", say("people disagree"), ")"] : [])] : []));
  $("issues").replaceChildren(...facts.issues.map((issue) => make("li", {}, make("a", { href: `/data?show=frames&issue=${encodeURIComponent(issue.kind)}` }, worded(issue.kind)), issue.score == null ? "" : ` ${number(issue.score, 2)}`, ...(issue.blocks ? [" – ", say("kept out")] : []), issue.detail ? make("span", { class: "note" }, " ", detail(issue.detail)) : "")));
  showRows();
  $("lineage").replaceChildren(...lineage());
}

const detail = (text) => (/\/\d{8}T/.test(text) ? make("a", { href: linkOf({ frame: text, region: "" }) }, text) : text);

function showRows() {
  const predictions = facts.predictions ?? [];
  $("predictions-part").hidden = !predictions.length;
  $("predictions").replaceChildren(...predictions.map((each) => make("tr", {}, make("th", { scope: "row" }, each.model), make("td", {}, each.class), make("td", { class: "number" }, number(each.probability, 3)))));
  const events = facts.events ?? [];
  $("events-part").hidden = !events.length;
  const heard = (event) => (event.taken_back ? [make("s", {}, event.said), " ", say("taken back")] : [event.said]);
  $("events").replaceChildren(...events.map((event) => make("li", {}, `${event.who}: `, ...heard(event), ` · ${when(event.at)}`, event.note ? ` · ${event.note}` : "")));
}

function lineage() {
  const { origin, prepared } = facts;
  const values = { ...origin, ...prepared, light: facts.light, bands: origin.bands.join(", "), size_px: `${origin.width_px} × ${origin.height_px} px` };
  const about = (key, value) => make("div", {}, make("dt", {}, say(FACTS[key])), make("dd", {}, key.endsWith("_at") ? when(value) : key === "light" || key === "time_source" ? worded(value) : String(value)));
  const known = Object.keys(FACTS).filter((key) => values[key]);
  const used = (facts.datasets ?? []).map(({ dataset, split, models }) => make("div", {}, make("dt", {}, say("Dataset {}", dataset)), make("dd", {}, worded(split), ...models.flatMap((model) => [" → ", model]))));
  return [...known.map((key) => about(key, values[key])), ...used];
}

// The region's corners, in shares of the whole frame.
async function outline() {
  if (!item.region) return;
  const [{ points }] = await Promise.all([ask("GET", `/api/outline?${asking}`), $("frame").decode().catch(() => {})]);
  const { naturalWidth: width, naturalHeight: height } = $("frame");
  if (!points.length || !width) return;
  $("outline").setAttribute("viewBox", `0 0 ${width} ${height}`);
  const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
  polygon.setAttribute("points", points.map(([x, y]) => `${x * width},${y * height}`).join(" "));
  $("outline").replaceChildren(polygon);
}

// The same region, or the frame, just before and just after.
async function beside() {
  const here = item.region ? `${item.frame}/${item.region}` : item.frame;
  const filter = { camera: facts.origin.camera, region: item.region, show: item.region ? "samples" : "frames", count: 1 };
  for (const way of ["before", "after"]) {
    const { items } = await ask("GET", `/api/pictures?${new URLSearchParams({ ...filter, [way]: here })}`);
    $(way).hidden = !items.length;
    if (items.length) $(way).href = linkOf(items[0]);
  }
}

async function similar() {
  if (!item.region) return;
  const found = await ask("GET", `/api/similar?${asking}`);
  Object.assign(words, found.words);
  $("similar-part").hidden = false;
  $("no-similar").hidden = found.embedded;
  $("similar").replaceChildren(...found.items.map(tile));
}

$("frame").addEventListener("error", () => {
  $("broken").hidden = false;
  $("frame").hidden = true;
});
document.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: "before", ArrowRight: "after" }[event.key];
  if (!way || isWriting(event) || event.target.closest(".tile") || $(way).hidden) return;
  location.assign($(way).href);
});
walk($("similar"));
facts = await askUntil("GET", `/api/picture?${asking}`);
Object.assign(words, facts.words);
show();
onLanguage(show);
await Promise.all([outline(), beside(), similar()]);
document.body.dataset.ready = "yes";
