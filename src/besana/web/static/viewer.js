// The picture on the screen: zoom, full resolution, the frames before and after, the whole frame.
import { ask, pictureOf } from "/static/web.js";

const query = (item) => `frame=${encodeURIComponent(item.frame)}&region=${encodeURIComponent(item.region)}`;

export class Viewer {
  constructor(image, outline, screen) {
    Object.assign(this, { image, outline, screen });
    this.screen.tabIndex = -1;
    this.moved = () => {};
    this.clear();
  }

  clear() {
    this.item = this.shown = null;
    this.film = { frames: [], at: 0 };
    this.step = 0;
    this.whole = false;
    this.scale = 1;
    this.image.hidden = true;
    this.outline.replaceChildren();
  }

  show(item) {
    this.item = this.shown = item;
    this.film = { frames: [], at: 0 };
    this.step = 0;
    this.whole = false;
    this.scale = 1;
    this.outline.replaceChildren();
    this.put(item.image?.src ?? pictureOf(item), item);
    this.moved();
  }

  put(src, item) {
    this.image.hidden = false;
    this.image.src = src;
    this.image.dataset.sample = `${item.frame}/${item.region}`;
    this.size();
  }

  size() {
    this.screen.dataset.zoomed = this.scale > 1 ? "yes" : "no";
    this.screen.style.setProperty("--zoom", String(this.scale));
  }

  zoom(by) {
    this.scale = Math.min(8, Math.max(1, this.scale * by));
    this.size();
  }

  // Go to the same region some frames before or after; what is labelled stays the picture of now.
  async move(by) {
    const item = this.item;
    if (!this.film.frames.length) {
      const { before, after } = await ask("GET", `/api/beside?${query(item)}`);
      if (this.item !== item) return false;
      this.film = { frames: [...before, item, ...after], at: before.length, start: before.length };
      for (const frame of this.film.frames) new Image().src = pictureOf(frame);
    }
    const at = this.film.at + by;
    if (at < 0 || at >= this.film.frames.length) return true;
    this.film.at = at;
    this.step = at - this.film.start;
    this.shown = this.film.frames[at];
    this.whole = false;
    this.outline.replaceChildren();
    this.put(pictureOf(this.shown), this.shown);
    return true;
  }

  async toggleFrame() {
    this.whole = !this.whole;
    const item = this.shown;
    this.outline.replaceChildren();
    if (!this.whole) {
      this.put(pictureOf(item), item);
      return false;
    }
    this.put(`/picture/frame?frame=${encodeURIComponent(item.frame)}`, item);
    const { points } = await ask("GET", `/api/outline?${query(item)}`);
    await this.image.decode().catch(() => {});
    if (this.whole && this.shown === item && points.length) {
      const { naturalWidth: width, naturalHeight: height } = this.image;
      this.outline.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
      polygon.setAttribute("points", points.map(([x, y]) => `${x * width},${y * height}`).join(" "));
      this.outline.append(polygon);
    }
    return true;
  }

  full(on) {
    if (!this.shown || this.whole) return;
    this.put(on ? `/picture/full?${query(this.shown)}` : pictureOf(this.shown), this.shown);
  }
}
