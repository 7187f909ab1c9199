// Boxes and polygons drawn over a picture: by mouse, by finger and by keys, with undo.
export const svg = (name, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
};

export const isBox = (shape) => shape.kind === "box";
const written = (points) => points.map((point) => point.join(",")).join(" ");
const fromSides = (left, top, right, bottom) => [
  [left, top],
  [right, top],
  [right, bottom],
  [left, bottom],
];

// What besana.toml says of a shape, and back.
export function toSetting(shape) {
  const points = shape.points.map((point) => point.map(Math.round));
  return isBox(shape) ? [points[0][0], points[0][1], points[2][0], points[2][1]] : points;
}

export const fromSetting = (name, value) =>
  typeof value[0] === "number" ? { name, kind: "box", points: fromSides(...value) } : { name, kind: "polygon", points: value.map((point) => [...point]) };

export class Drawing {
  constructor(element, { changed, chosen }) {
    Object.assign(this, { element, changed, chosen, shapes: [], size: [1, 1], at: -1, corner: -1, tool: "select", open: null, drag: null, past: [], ahead: [] });
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, (event) => this.up(event));
    element.addEventListener("dblclick", () => this.close());
    element.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(element);
  }

  load(shapes, size) {
    Object.assign(this, { shapes, size, at: -1, corner: -1, open: null, past: [], ahead: [] });
    this.draw();
  }

  use(tool) {
    this.tool = tool;
    this.open = null;
    this.element.dataset.tool = tool;
    this.draw();
    this.chosen();
  }

  // Remember how it was before a change.
  keep() {
    this.past.push(JSON.stringify(this.shapes));
    this.ahead = [];
  }

  step(from, to) {
    if (!from.length) return;
    to.push(JSON.stringify(this.shapes));
    this.shapes = JSON.parse(from.pop());
    this.at = Math.min(this.at, this.shapes.length - 1);
    this.corner = -1;
    this.done();
  }

  undo() {
    this.step(this.past, this.ahead);
  }

  redo() {
    this.step(this.ahead, this.past);
  }

  done() {
    this.draw();
    this.changed();
  }

  choose(at, corner = -1) {
    this.at = at;
    this.corner = corner;
    this.draw();
    this.chosen();
  }

  // A name that is free, after the pattern of the last one: bed-3 after bed-2.
  freeName() {
    const names = new Set(this.shapes.map((shape) => shape.name));
    const [, stem, digits] = /^(.*?)(\d*)$/.exec(this.shapes.at(-1)?.name ?? "region-0");
    for (let next = Number(digits || 1) + 1; ; next += 1) if (!names.has(`${stem}${next}`)) return `${stem}${next}`;
  }

  add(kind, points) {
    this.keep();
    this.shapes.push({ name: this.freeName(), kind, points });
    this.at = this.shapes.length - 1;
    this.corner = -1;
    this.done();
    this.chosen();
  }

  addInTheMiddle(kind) {
    const [width, height] = this.size.map((side) => Math.round(side / 2));
    const [x, y] = [Math.round(width / 4), Math.round(height / 4)];
    this.add(kind, fromSides(width - x, height - y, width + x, height + y));
  }

  remove(at) {
    this.keep();
    this.shapes.splice(at, 1);
    this.choose(-1);
    this.done();
  }

  // Coordinates of a pointer in the picture's own pixels.
  place(event) {
    const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.element.getScreenCTM().inverse());
    return [spot.x, spot.y].map((value, axis) => Math.round(Math.min(this.size[axis], Math.max(0, value))));
  }

  scale() {
    return 1 / (this.element.getScreenCTM()?.a || 1);
  }

  down(event) {
    if (event.button > 0) return;
    const spot = this.place(event);
    this.element.focus();
    if (this.tool === "polygon") {
      this.addPoint(spot);
      return;
    }
    this.element.setPointerCapture(event.pointerId);
    const { shape, corner } = event.target.dataset;
    if (this.tool === "box") this.drag = { start: spot, box: true };
    else if (shape != null) {
      this.choose(Number(shape), corner == null ? -1 : Number(corner));
      this.drag = { start: spot, before: JSON.stringify(this.shapes) };
    } else this.choose(-1);
  }

  move(event) {
    if (this.tool === "polygon" && this.open) {
      this.open.ahead = this.place(event);
      this.draw();
    }
    if (!this.drag) return;
    const spot = this.place(event);
    if (this.drag.box) {
      this.drag.end = spot;
      this.draw();
      return;
    }
    this.shapes = JSON.parse(this.drag.before);
    this.shift(spot[0] - this.drag.start[0], spot[1] - this.drag.start[1]);
    this.draw();
  }

  up() {
    const { drag } = this;
    this.drag = null;
    if (drag?.box && drag.end) {
      const [[x1, y1], [x2, y2]] = [drag.start, drag.end];
      if (Math.abs(x1 - x2) > 2 && Math.abs(y1 - y2) > 2) this.add("box", fromSides(Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)));
      else this.draw();
    } else if (drag && drag.before !== JSON.stringify(this.shapes)) {
      this.past.push(drag.before);
      this.ahead = [];
      this.done();
    }
  }

  addPoint(spot) {
    this.open ??= { points: [] };
    const [first] = this.open.points;
    const near = first && Math.hypot(spot[0] - first[0], spot[1] - first[1]) < 12 * this.scale();
    if (near && this.open.points.length > 2) return this.close();
    if (!near) this.open.points.push(spot);
    return this.draw();
  }

  close() {
    const points = this.open?.points ?? [];
    this.open = null;
    if (points.length > 2) this.add("polygon", points);
    else this.draw();
  }

  // Move the chosen corner, or the whole shape; it stays in the picture, and a box stays a box.
  shift(x, y) {
    const shape = this.shapes[this.at];
    if (!shape) return;
    const inside = (value, axis) => Math.min(this.size[axis], Math.max(0, value));
    if (this.corner < 0) {
      const room = [0, 1].map((axis) => {
        const values = shape.points.map((point) => point[axis]);
        return Math.min(this.size[axis] - Math.max(...values), Math.max(-Math.min(...values), axis ? y : x));
      });
      shape.points = shape.points.map((point) => point.map((value, axis) => value + room[axis]));
      return;
    }
    const old = shape.points[this.corner];
    const now = [inside(old[0] + x, 0), inside(old[1] + y, 1)];
    if (!isBox(shape)) {
      shape.points[this.corner] = now;
      return;
    }
    const across = shape.points[(this.corner + 2) % 4];
    if (now.some((value, axis) => Math.sign(value - across[axis]) !== Math.sign(old[axis] - across[axis]))) return;
    shape.points = shape.points.map((point) => point.map((value, axis) => (value === old[axis] ? now[axis] : value)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = event.shiftKey ? 10 : 1;
    const arrows = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    const count = this.shapes.length;
    const corners = this.shapes[this.at]?.points.length ?? 0;
    const actions = {
      b: () => this.addInTheMiddle("box"),
      p: () => this.addInTheMiddle("polygon"),
      v: () => this.use("select"),
      ".": () => count && this.choose((this.at + 1) % count),
      ",": () => count && this.choose((this.at - 1 + count) % count),
      "]": () => corners && this.choose(this.at, (this.corner + 1) % corners),
      "[": () => corners && this.choose(this.at, (this.corner - 1 + corners) % corners),
      i: () => this.insertCorner(),
      d: () => this.double(),
      z: () => (event.shiftKey ? this.redo() : this.undo()),
      Delete: () => this.takeAway(),
      Backspace: () => this.takeAway(),
      Escape: () => (this.open ? this.use("select") : this.choose(this.corner >= 0 ? this.at : -1)),
      Enter: () => (this.open ? this.close() : this.chosen("name")),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action && !arrows[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    if (action) action();
    else if (this.shapes[this.at]) {
      this.keep();
      this.shift(...arrows[event.key]);
      this.done();
      this.chosen();
    }
  }

  insertCorner() {
    const shape = this.shapes[this.at];
    if (!shape) return;
    this.keep();
    const from = Math.max(0, this.corner);
    const [a, b] = [shape.points[from], shape.points[(from + 1) % shape.points.length]];
    shape.kind = "polygon";
    shape.points.splice(from + 1, 0, [Math.round((a[0] + b[0]) / 2), Math.round((a[1] + b[1]) / 2)]);
    this.corner = from + 1;
    this.done();
  }

  double() {
    const shape = this.shapes[this.at];
    if (!shape) return;
    this.add(shape.kind, shape.points.map((point) => [...point]));
    this.shift(10, 10);
    this.done();
  }

  takeAway() {
    if (this.open) {
      this.open.points.pop();
      this.draw();
      return;
    }
    const shape = this.shapes[this.at];
    if (!shape) return;
    if (this.corner < 0 || isBox(shape) || shape.points.length < 4) {
      this.remove(this.at);
      return;
    }
    this.keep();
    shape.points.splice(this.corner, 1);
    this.corner = -1;
    this.done();
  }

  draw() {
    this.element.setAttribute("viewBox", `0 0 ${this.size[0]} ${this.size[1]}`);
    const unit = this.scale();
    const parts = this.shapes.flatMap((shape, number) => [
      svg("polygon", { points: written(shape.points), "data-shape": number, class: number === this.at ? "chosen" : null }),
      svg("text", { x: Math.min(...shape.points.map(([x]) => x)) + 5 * unit, y: Math.min(...shape.points.map(([, y]) => y)) + 17 * unit, "font-size": 14 * unit }, shape.name),
    ]);
    const radius = (matchMedia("(pointer: coarse)").matches ? 12 : 7) * unit;
    const corners = this.shapes[this.at]?.points ?? [];
    parts.push(...corners.map(([cx, cy], corner) => svg("circle", { cx, cy, r: radius, "data-shape": this.at, "data-corner": corner, class: corner === this.corner ? "chosen" : null })));
    if (this.open) parts.push(svg("polyline", { points: written([...this.open.points, ...(this.open.ahead ? [this.open.ahead] : [])]) }));
    if (this.drag?.box && this.drag.end) {
      const [[x1, y1], [x2, y2]] = [this.drag.start, this.drag.end];
      parts.push(svg("polygon", { points: written(fromSides(x1, y1, x2, y2)), class: "chosen" }));
    }
    this.element.querySelector("g.shapes")?.remove();
    this.element.append(svg("g", { class: "shapes" }, ...parts));
  }
}

// Where the tiles of a grid begin along one side, as the server cuts them.
function starts(length, size, stride) {
  if (length <= size) return [0];
  const found = [];
  for (let at = 0; at <= length - size; at += stride) found.push(at);
  if (found.at(-1) + size < length) found.push(length - size);
  return found;
}

export function gridLines([width, height], size, stride) {
  const lefts = starts(width, size, stride);
  const tops = starts(height, size, stride);
  const down = lefts.map((x) => `M${x} 0V${height}M${Math.min(x + size, width)} 0V${height}`);
  const across = tops.map((y) => `M0 ${y}H${width}M0 ${Math.min(y + size, height)}H${width}`);
  return { path: [...down, ...across].join(""), count: lefts.length * tops.length };
}
