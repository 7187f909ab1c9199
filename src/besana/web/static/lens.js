// The lens of a camera: sliders, a calibration file, or pictures of a chessboard.
import { ask, make, notice, number, Refused, say, sayNow, told } from "/static/web.js";
import { svg } from "/static/shapes.js";

const $ = (id) => document.getElementById(id);
const MODELS = {
  none: "No correction",
  pinhole: "Ordinary lens",
  fisheye: "Fisheye",
};
const SLIDERS = {
  focal: "Focal length, in widths of the picture",
  k1: "First bend (k1)",
  k2: "Second bend (k2)",
  x: "Middle, to the right",
  y: "Middle, downwards",
  zoom: "Shown at this scale",
};
const RANGES = { focal: [0.15, 3], k1: [-1, 1], k2: [-1, 1], x: [-0.2, 0.2], y: [-0.2, 0.2], zoom: [0.2, 2] };

export class LensPanel {
  constructor({ changed }) {
    Object.assign(this, { changed, lens: { model: "none" }, frameSize: [1, 1], touched: false });
    $("model").addEventListener("change", () => this.setModel($("model").value));
    $("calibration").addEventListener("change", () => this.readFile($("calibration")));
    for (const id of ["boards", "folder"]) $(id).addEventListener("change", () => this.readBoards($(id)));
  }

  load(lens, frameSize) {
    Object.assign(this, { lens: { ...lens }, frameSize, touched: false });
    this.show();
  }

  size() {
    return this.lens.size_px?.length ? this.lens.size_px : this.frameSize;
  }

  // What the server takes: the lens as it is now, in the size it belongs to.
  value() {
    if (this.lens.model === "none") return { model: "none" };
    return { ...this.lens, size_px: this.size() };
  }

  set(lens) {
    this.lens = { zoom: 1, ...lens };
    this.touched = true;
    this.show();
    this.changed();
  }

  setModel(model) {
    const [width] = this.size();
    if (model === "none") this.set({ model });
    else this.set({ model, focal_px: [Math.round(width * (model === "fisheye" ? 0.32 : 0.8))], distortion: [0, 0, 0, 0], centre_px: [], size_px: this.size() });
  }

  show() {
    for (const option of $("model").options) option.textContent = sayNow(MODELS[option.value]);
    $("model").value = this.lens.model;
    const straight = this.lens.model === "none";
    $("sliders").replaceChildren(...(straight ? [] : Object.keys(SLIDERS).map((key) => this.slider(key))));
  }

  slider(key) {
    const [min, max] = RANGES[key];
    const shown = make("output", {}, number(this.read(key), 3));
    const input = make("input", { type: "range", id: `lens-${key}`, min, max, step: 0.005, value: this.read(key) });
    input.addEventListener("input", () => {
      this.write(key, Number(input.value));
      shown.textContent = number(input.value, 3);
      this.touched = true;
      this.changed();
    });
    return make("p", { class: "field" }, make("label", { for: input.id }, say(SLIDERS[key])), input, shown);
  }

  read(key) {
    const { focal_px: focal, distortion = [], zoom = 1 } = this.lens;
    const [width, height] = this.size();
    const [x, y] = this.lens.centre_px?.length ? this.lens.centre_px : [(width - 1) / 2, (height - 1) / 2];
    return { focal: focal[0] / width, k1: distortion[0] ?? 0, k2: distortion[1] ?? 0, x: (x - (width - 1) / 2) / width, y: (y - (height - 1) / 2) / height, zoom }[key];
  }

  write(key, value) {
    const [width, height] = this.size();
    const { lens } = this;
    if (key === "focal") lens.focal_px = lens.focal_px.map((focal) => Math.round((focal * value * width * 1000) / lens.focal_px[0]) / 1000);
    if (key === "zoom") lens.zoom = value;
    if (key === "k1" || key === "k2") {
      lens.distortion = lens.distortion?.length ? [...lens.distortion] : [0, 0, 0, 0];
      lens.distortion[key === "k1" ? 0 : 1] = value;
    }
    if (key === "x" || key === "y") {
      const middle = [(width - 1) / 2, (height - 1) / 2];
      lens.centre_px = lens.centre_px?.length ? [...lens.centre_px] : middle;
      const axis = key === "x" ? 0 : 1;
      lens.centre_px[axis] = Math.round(10 * (middle[axis] + value * [width, height][axis])) / 10;
    }
  }

  async readFile(input) {
    const [file] = input.files;
    if (!file) return;
    try {
      const { lens } = await ask("POST", "/api/lens/file", { name: file.name, content: await file.text() });
      this.set(lens);
      notice(say("The lens of {} is shown.", file.name));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      notice(told(error));
    }
    input.value = "";
  }

  // One picture after the other: the server keeps none, only its corners come back.
  async readBoards(input) {
    const files = [...input.files].filter((file) => /\.(jpe?g|png|webp|tiff?)$/i.test(file.name)).slice(0, 60);
    const board = { columns: Number($("columns").value), rows: Number($("rows").value) };
    const found = [];
    for (const [place, file] of files.entries()) {
      $("found").replaceChildren(say("Looking at {} of {}…", number(place + 1), number(files.length)));
      try {
        const answer = await ask("POST", `/api/lens/board?${new URLSearchParams(board)}`, file);
        if (answer.corners) found.push(answer);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    input.value = "";
    await this.calibrate(board, found, files.length);
  }

  async calibrate(board, found, looked) {
    const size = found[0]?.size_px;
    const same = found.filter((each) => each.size_px.join() === size.join());
    if (same.length < 3) {
      $("found").replaceChildren(say("The board is whole in {} of {} pictures; three are needed.", number(same.length), number(looked)));
      return;
    }
    const model = this.lens.model === "fisheye" ? "fisheye" : "pinhole";
    try {
      const { lens, error_px: rest } = await ask("POST", "/api/lens/calibration", { board, model, size_px: size, corners: same.map((each) => each.corners) });
      this.set(lens);
      $("found").replaceChildren(say("From {} of {} pictures; {} pixels are left between corners and lens.", number(same.length), number(looked), number(rest, 2)));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      $("found").replaceChildren(told(error));
    }
  }
}

// Lines that are straight for sure, to be laid along edges that should be; ends are dragged or moved by arrow keys.
export class Guides {
  constructor(element) {
    this.element = element;
    this.lines = [];
  }

  show(on, [width, height]) {
    this.size = [width, height];
    const part = (share) => [share * width, share * height];
    if (!on) this.lines = [];
    else if (!this.lines.length) this.lines = [0.2, 0.5, 0.8].flatMap((share) => [[[part(share)[0], 0], [part(share)[0], height]], [[0, part(share)[1]], [width, part(share)[1]]]]);
    this.draw();
  }

  draw() {
    this.element.querySelector("g.guides")?.remove();
    const group = svg("g", { class: "guides" });
    const unit = 1 / (this.element.getScreenCTM()?.a || 1);
    this.lines.forEach((line, at) => {
      group.append(svg("line", { x1: line[0][0], y1: line[0][1], x2: line[1][0], y2: line[1][1] }));
      line.forEach((end, which) => {
        const handle = svg("circle", { cx: end[0], cy: end[1], r: 9 * unit, tabindex: 0, role: "button", "aria-label": `${at + 1}.${which + 1}` });
        handle.addEventListener("pointerdown", (event) => {
          event.stopPropagation();
          handle.setPointerCapture(event.pointerId);
        });
        handle.addEventListener("pointermove", (event) => {
          if (!handle.hasPointerCapture(event.pointerId)) return;
          const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.element.getScreenCTM().inverse());
          this.put(at, which, [spot.x, spot.y], group);
        });
        handle.addEventListener("keydown", (event) => {
          const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
          if (!by) return;
          event.preventDefault();
          event.stopPropagation();
          this.put(at, which, end.map((value, axis) => value + by[axis] * (event.shiftKey ? 20 : 4)), group);
        });
        group.append(handle);
      });
    });
    this.element.append(group);
  }

  put(at, which, spot, group) {
    const line = this.lines[at];
    spot.forEach((value, axis) => {
      line[which][axis] = Math.min(this.size[axis], Math.max(0, value));
    });
    const drawn = group.children[3 * at];
    for (const [name, value] of [["x1", line[0][0]], ["y1", line[0][1]], ["x2", line[1][0]], ["y2", line[1][1]]]) drawn.setAttribute(name, value);
    const handle = group.children[3 * at + 1 + which];
    handle.setAttribute("cx", line[which][0]);
    handle.setAttribute("cy", line[which][1]);
  }
}
