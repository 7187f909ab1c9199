// The regions page: choose camera and frame, correct the lens, draw, look at other frames, write.
import { ask, askUntil, make, notice, number, onLanguage, Refused, say, sayNow, told, when } from "/static/web.js";
import { Drawing, fromSetting, gridLines, isBox, svg, toSetting } from "/static/shapes.js";
import { Guides, LensPanel } from "/static/lens.js";
import { words, worded } from "/static/tiles.js";

const $ = (id) => document.getElementById(id);
const state = { cameras: [], version: "", camera: null, frames: [], frame: null, dirty: false };
const drawing = new Drawing($("canvas"), { changed: edited, chosen });
const guides = new Guides($("canvas"));
const lens = new LensPanel({ changed: lensChanged });
let waiting;

async function begin(name) {
  const found = await askUntil("GET", "/api/cameras");
  Object.assign(state, { cameras: found.cameras, version: found.version });
  Object.assign(words, found.words);
  $("camera").replaceChildren(...found.cameras.map((each) => make("option", { value: each.name, selected: each.name === name }, each.name)));
  $("stale").hidden = true;
  await open($("camera").value);
}

async function open(name) {
  state.camera = state.cameras.find((each) => each.name === name);
  if (!state.camera) return;
  ({ frames: state.frames } = await askUntil("GET", `/api/cameras/frames?${new URLSearchParams({ camera: name })}`));
  state.frame = state.frames.find((each) => each.why === "newest_day") ?? state.frames.at(-1) ?? null;
  const size = state.frame?.width_px ? [state.frame.width_px, state.frame.height_px] : await sizeOf(state.frame);
  lens.load(state.camera.lens, size);
  const { regions, grid } = state.camera;
  drawing.load(Object.entries(regions).map(([key, value]) => fromSetting(key, value)), lens.size());
  $("gridded").checked = grid != null;
  $("tile").value = grid?.size_px ?? 256;
  $("stride").value = grid?.stride_px ?? "";
  clean();
  look();
  drawing.use("select");
  document.body.dataset.ready = "yes";
}

// The size of a frame whose header did not tell it.
async function sizeOf(frame) {
  if (!frame) return [640, 480];
  const picture = new Image();
  picture.src = `/picture/frame?${new URLSearchParams({ frame: frame.frame, side: 4096 })}`;
  await picture.decode().catch(() => {});
  return [picture.naturalWidth || 640, picture.naturalHeight || 480];
}

const previewOf = (frame, side) => `/picture/preview?${new URLSearchParams({ frame: frame.frame, lens: JSON.stringify(lens.value()), side })}`;

// Show the frame through the lens, and the other frames in small.
function look() {
  if (!state.frame) return;
  $("view").hidden = false;
  $("broken").hidden = true;
  $("view").src = previewOf(state.frame, 1600);
  $("view").alt = state.frame.frame;
  $("film").replaceChildren(
    ...state.frames.map((frame) =>
      make(
        "li",
        {},
        make("button", { type: "button", "aria-current": frame === state.frame && "true", onclick: () => go(frame) }, make("img", { src: previewOf(frame, 320), alt: "", loading: "lazy" }), svg("svg", { viewBox: `0 0 ${lens.size().join(" ")}`, "aria-hidden": "true" }), make("span", { class: "note" }, worded(frame.why), make("br"), when(frame.at))),
      ),
    ),
  );
  drawSmall();
}

function go(frame) {
  state.frame = frame;
  look();
  $("film").querySelector("[aria-current] ")?.focus();
}

// The same regions over every small frame.
function drawSmall() {
  const { path } = gridOf();
  for (const small of $("film").querySelectorAll("svg")) {
    small.replaceChildren(...(path ? [svg("path", { d: path })] : drawing.shapes.map((shape) => svg("polygon", { points: shape.points.map((point) => point.join(",")).join(" ") }))));
  }
}

function gridOf() {
  if (!$("gridded").checked) return { path: "", count: 0 };
  const size = Math.max(8, Number($("tile").value) || 256);
  return gridLines(drawing.size, size, Math.min(size, Math.max(1, Number($("stride").value) || size)));
}

function drawGrid() {
  const { path, count } = gridOf();
  $("canvas").querySelector("path.grid")?.remove();
  $("canvas").classList.toggle("gridded", count > 0);
  if (path) $("canvas").append(svg("path", { class: "grid", d: path }));
  $("none").replaceChildren(count ? say("{} tiles.", number(count)) : say("None: the whole picture is one region."));
  $("none").hidden = !count && drawing.shapes.length > 0;
}

function edited() {
  state.dirty = true;
  show();
  drawSmall();
}

function clean() {
  state.dirty = false;
  $("problem").hidden = true;
  show();
}

function show() {
  $("save").disabled = !state.dirty;
  $("state").replaceChildren(state.dirty ? say("Not written yet") : say("As besana.toml has it"));
  $("undo").disabled = !drawing.past.length;
  $("redo").disabled = !drawing.ahead.length;
  if (!$("list").contains(document.activeElement)) drawList();
  drawGrid();
}

function drawList() {
  $("list").replaceChildren(...drawing.shapes.map(row));
  chosen();
}

function row(shape, at) {
  const name = make("input", { value: shape.name, maxlength: 100, autocomplete: "off", "aria-label": sayNow("Name") });
  name.addEventListener("focus", () => drawing.choose(at));
  name.addEventListener("change", () => {
    drawing.keep();
    drawing.shapes[at].name = name.value.trim();
    drawing.done();
  });
  const corners = make("input", { value: toSetting(shape).join("; "), class: "corners", autocomplete: "off", "aria-label": sayNow("Corners in pixels") });
  corners.addEventListener("change", () => {
    const found = parsed(corners.value, shape);
    if (found) {
      drawing.keep();
      drawing.shapes[at].points = found;
      drawing.done();
    }
    corners.value = toSetting(drawing.shapes[at]).join("; ");
  });
  return make("li", {}, name, corners, make("button", { type: "button", "aria-label": `${sayNow("Take away")} ${shape.name}`, onclick: () => drawing.remove(at) }, "×"));
}

function parsed(text, shape) {
  const numbers = text.split(/[;,\s]+/).filter(Boolean).map(Number);
  if (numbers.some((value) => !Number.isFinite(value))) return null;
  if (isBox(shape)) return numbers.length === 4 && numbers[0] < numbers[2] && numbers[1] < numbers[3] ? fromSetting("", numbers).points : null;
  return numbers.length >= 6 && numbers.length % 2 === 0 ? numbers.flatMap((value, place) => (place % 2 ? [] : [[value, numbers[place + 1]]])) : null;
}

// What is chosen is told to who cannot see it.
function chosen(what) {
  for (const tool of ["select", "box", "polygon"]) $(tool).setAttribute("aria-pressed", String(drawing.tool === tool));
  [...$("list").children].forEach((line, at) => line.classList.toggle("chosen", at === drawing.at));
  const shape = drawing.shapes[drawing.at];
  const spot = shape && (drawing.corner >= 0 ? shape.points[drawing.corner].join(", ") : toSetting(shape).join("; "));
  $("spoken").textContent = shape ? `${shape.name}: ${spot}` : "";
  if (what === "name") $("list").children[drawing.at]?.querySelector("input").focus();
}

function lensChanged() {
  drawing.size = lens.size();
  drawing.draw();
  guides.show($("guides").checked, drawing.size);
  edited();
  clearTimeout(waiting);
  waiting = setTimeout(look, 150);
}

async function save(version = state.version) {
  const regions = $("gridded").checked ? [] : drawing.shapes;
  const names = regions.map((shape) => shape.name);
  if (new Set(names).size !== names.length) {
    problem(say("Two regions have one name."));
    return;
  }
  const stride = Number($("stride").value);
  const grid = $("gridded").checked ? { size_px: Number($("tile").value), ...(stride ? { stride_px: stride } : {}) } : null;
  const body = { camera: state.camera.name, version, lens: lens.touched ? lens.value() : null, regions: Object.fromEntries(regions.map((shape) => [shape.name, toSetting(shape)])), grid };
  try {
    const answer = await ask("POST", "/api/cameras", body);
    state.version = answer.version;
    Object.assign(state.camera, { regions: body.regions, grid });
    if (body.lens) state.camera.lens = { ...body.lens };
    lens.touched = false;
    $("stale").hidden = true;
    clean();
    notice(say("Written. Cut the pictures anew with: besana prepare"));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.answer.error === "stale") $("stale").hidden = false;
    else problem(told(error));
  }
}

function problem(...content) {
  $("problem").replaceChildren(...content);
  $("problem").hidden = false;
}

$("camera").addEventListener("change", () => open($("camera").value));
$("view").addEventListener("error", () => {
  $("view").hidden = true;
  $("broken").hidden = false;
});
for (const tool of ["select", "box", "polygon"]) {
  $(tool).addEventListener("click", () => {
    drawing.use(tool);
    $("canvas").focus();
  });
}
$("undo").addEventListener("click", () => drawing.undo());
$("redo").addEventListener("click", () => drawing.redo());
$("guides").addEventListener("change", () => guides.show($("guides").checked, drawing.size));
for (const id of ["gridded", "tile", "stride"]) $(id).addEventListener("change", edited);
$("save").addEventListener("click", () => save());
$("theirs").addEventListener("click", () => begin(state.camera.name));
$("mine").addEventListener("click", async () => save((await ask("GET", "/api/cameras")).version));
$("list").addEventListener("focusout", () => setTimeout(show));
addEventListener("beforeunload", (event) => {
  if (state.dirty) event.preventDefault();
});
onLanguage(() => {
  lens.show();
  show();
});
begin(new URLSearchParams(location.search).get("camera"));
