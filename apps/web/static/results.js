// What was recognized: ranked bars, and windows over time.

const HEAT_ROWS = 5;

export function percent(share) {
  if (share > 0 && share < 0.0005) return "<\u202f0.1\u00a0%";
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`;
}

export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = (tenths % 600) / 10;
  return `${Math.floor(tenths / 600)}:${rest < 10 ? "0" : ""}${rest.toFixed(1)}`;
}

/** An element with text or children; names that people typed keep their own direction. */
export function make(tag, { text, name, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name !== undefined) {
    element.textContent = name;
    element.dir = "auto";
  }
  for (const [key, value] of Object.entries(rest)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function showRanking(list, classes) {
  list.replaceChildren(...classes.map(({ name, probability }) => {
    const fill = make("i");
    fill.style.width = `${100 * probability}%`;
    return make("li", {},
      make("span", { class: "name", name }),
      make("span", { class: "share", text: percent(probability) }),
      make("span", { class: "bar", "aria-hidden": "true" }, fill));
  }));
}

/** Windows as buttons in a row, shares of the best classes as strips under them. */
export class Timeline {
  #windows = [];
  #heads = [];

  /**
   * @param places elements: box, row, heat, its note, body of the table
   * @param pick called with the index of a chosen window and the second that was meant
   */
  constructor(places, pick) {
    this.places = places;
    this.pick = pick;
    places.row.addEventListener("keydown", (event) => this.#key(event));
  }

  show(windows) {
    const had = this.places.row.contains(document.activeElement);
    this.#windows = windows;
    this.places.box.hidden = windows.length === 0;
    this.#showRow();
    this.#showHeat();
    this.#showTable();
    if (had) this.places.row.firstElementChild?.focus();
  }

  #place(element, start, end) {
    const [from, to] = this.#range();
    element.style.left = `${(100 * (start - from)) / (to - from)}%`;
    element.style.width = `${(100 * (end - start)) / (to - from)}%`;
  }

  #range() {
    const last = Math.max(...this.#windows.map((window) => window.end));
    const first = this.#windows[0].start;
    return [first, last > first ? last : first + 1];
  }

  #showRow() {
    this.places.row.replaceChildren(...this.#windows.map(({ start, end, classes }, index) => {
      const [best] = classes;
      const label = `${clock(start)} to ${clock(end)}: ${best.name}, ${percent(best.probability)}`;
      const button = make("button", {
        type: "button", name: best.name, title: label, "aria-label": label,
        "aria-pressed": "false", tabindex: index ? "-1" : "0",
      });
      const next = this.#windows[index + 1];
      this.#place(button, start, next ? Math.min(end, next.start) : end);
      button.addEventListener("click", () => this.choose(index));
      return button;
    }));
  }

  #showHeat() {
    const most = new Map();
    for (const { classes } of this.#windows) {
      for (const { name, probability } of classes) {
        most.set(name, Math.max(most.get(name) ?? 0, probability));
      }
    }
    const names = [...most].sort((a, b) => b[1] - a[1]).slice(0, HEAT_ROWS).map(([name]) => name);
    const top = Math.max(...most.values());
    this.places.note.textContent = names.length ? `Strongest colour: ${percent(top)}` : "";
    this.#heads = [];
    this.places.heat.replaceChildren(...names.flatMap((name) => {
      const head = make("b");
      const strip = make("div", { class: "strip" }, ...this.#cells(name, top), head);
      strip.addEventListener("click", (event) => this.#chooseAt(strip, event));
      this.#heads.push(head);
      return [make("span", { class: "name", name, title: name }), strip];
    }));
  }

  /** Shares of a class; the colour is relative to `top`, or 1000 classes would all be pale. */
  #cells(name, top) {
    return this.#windows.map(({ start, end, classes }) => {
      const share = classes.find((each) => each.name === name)?.probability ?? 0;
      const cell = make("i", { title: `${clock(start)} to ${clock(end)}: ${percent(share)}` });
      cell.style.opacity = String(share / top);
      this.#place(cell, start, end);
      return cell;
    });
  }

  #showTable() {
    this.places.body.replaceChildren(...this.#windows.map(({ start, end, classes }) =>
      make("tr", {},
        make("td", { text: clock(start) }), make("td", { text: clock(end) }),
        make("td", { name: classes[0].name }),
        make("td", { text: percent(classes[0].probability) }))));
  }

  #chooseAt(strip, event) {
    const box = strip.getBoundingClientRect();
    const [from, to] = this.#range();
    const second = from + ((event.clientX - box.left) / box.width) * (to - from);
    this.choose(this.at(second), second);
  }

  /** The window that covers a second; the last one behind the end. */
  at(second) {
    const index = this.#windows.findIndex(({ start, end }) => start <= second && second < end);
    return index < 0 ? this.#windows.length - 1 : index;
  }

  get(index) {
    return this.#windows[index];
  }

  choose(index, second = this.#windows[index].start) {
    this.#press(index);
    this.pick(index, second);
  }

  /** Mark no window as chosen. */
  release() {
    this.#press(-1);
  }

  #press(chosen) {
    [...this.places.row.children].forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === chosen));
      button.tabIndex = index === Math.max(chosen, 0) ? 0 : -1;
    });
  }

  /** Move the line that stands for the video's time. */
  moveTo(second) {
    if (!this.#windows.length) return;
    const [from, to] = this.#range();
    const share = Math.min(Math.max((second - from) / (to - from), 0), 1);
    for (const head of this.#heads) head.style.left = `calc(${100 * share}% - 1px)`;
  }

  #key(event) {
    const buttons = [...this.places.row.children];
    const now = buttons.indexOf(document.activeElement);
    const to = {
      ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: buttons.length - 1,
    }[event.key];
    if (to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[now].tabIndex = -1;
    buttons[to].tabIndex = 0;
    buttons[to].focus();
  }
}
