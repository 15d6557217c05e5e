// Draws a kernel as fields and tells which numbers were typed. It judges no more than whether a text is a number.

const EXAMPLE = "type a number such as -0.5";

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

/** The number that a text says, or why it says none. */
function read(text) {
  const trimmed = text.trim();
  if (!trimmed) return {problem: "nothing is typed"};
  const value = Number(trimmed);
  if (Number.isNaN(value)) return {problem: `“${trimmed.slice(0, 20)}” is no number`};
  if (!Number.isFinite(Math.fround(value))) return {problem: `“${trimmed.slice(0, 20)}” is not finite in float32`};
  return {value};
}

class Editor {
  constructor(root) {
    this.box = make("div", {className: "planes"});
    this.problem = make("p", {className: "problem"});
    this.problem.setAttribute("role", "alert");
    root.replaceChildren(make("div", {className: "kernel"}, this.box, this.problem));
    // What was typed since the last answer goes with every message: of two that are on their way one may be dropped.
    this.typed = new Map();
  }

  show(data, send) {
    this.send = send;
    const shape = JSON.stringify([data.name, data.planes.map(({d, rows}) => [d, rows.length, rows[0].length])]);
    if (shape !== this.shape) this.build(data);
    this.shape = shape;
    this.name = data.name;
    this.typed.clear();
    data.planes.forEach((plane, p) => plane.rows.forEach((row, h) => row.forEach((cell, w) => {
      this.fill(this.fields[p][h][w], cell);
    })));
  }

  build({planes}) {
    this.problem.textContent = "";
    this.fields = planes.map(({d, rows}, p) => rows.map((row, h) => row.map((_, w) => this.field(p, d, h, w))));
    this.box.replaceChildren(...planes.map(({title, colour, rows}, p) => {
      const head = make("tr", {}, make("th", {textContent: "H \\ W"}), ...rows[0].map((_, w) => make("th", {textContent: w})));
      const body = this.fields[p].map((row, h) => make(
        "tr", {}, make("th", {textContent: h}), ...row.map(input => make("td", {}, input)),
      ));
      const table = make("table", {}, make("caption", {textContent: title}), make("thead", {}, head), make("tbody", {}, ...body));
      table.style.setProperty("--plane", colour);
      return table;
    }));
  }

  field(p, d, h, w) {
    const input = make("input", {
      inputMode: "decimal", spellcheck: false, autocomplete: "off", ariaLabel: `Tap D ${d}, H ${h}, W ${w}`,
    });
    // At rest a few digits, under the hand all of them.
    input.onfocus = () => {
      if (input.value === input.dataset.short) input.value = input.dataset.exact;
      input.select();
    };
    input.onblur = () => this.commit(input, d, h, w);
    input.onkeydown = event => this.key(event, input, p, h, w);
    return input;
  }

  fill(input, {text, short, colour, dark, source}) {
    const active = input === input.getRootNode().activeElement;
    const {exact} = input.dataset;
    const untouched = exact === undefined || input.value === exact || input.value === input.dataset.short;
    Object.assign(input.dataset, {exact: text, short});
    input.parentNode.classList.toggle("changed", source !== null);
    input.parentNode.classList.toggle("dark", dark);
    input.title = source === null ? text : `${text}; the source has ${source}`;
    input.style.background = colour;
    input.style.color = dark ? "#fff" : "#000";
    // What is being typed, or was refused, is not taken away.
    if (!untouched && (active || input.ariaInvalid === "true")) return;
    const wanted = active ? text : short;
    if (input.value !== wanted) input.value = wanted;
    this.accept(input);
  }

  accept(input) {
    input.ariaInvalid = "false";
    if (this.refused === input) this.problem.textContent = "";
  }

  commit(input, d, h, w) {
    const {exact, short} = input.dataset;
    const {value, problem} = input.value === exact ? {} : read(input.value);
    if (problem) {
      input.ariaInvalid = "true";
      this.refused = input;
      this.problem.textContent = `Tap D ${d}, H ${h}, W ${w}: ${problem}; ${EXAMPLE}, or press Esc.`;
      return;
    }
    this.accept(input);
    if (value === undefined || value === Number(exact)) {
      input.value = short;
      return;
    }
    this.typed.set(input, [d, h, w, value]);
    this.send({name: this.name, taps: [...this.typed.values()]});
  }

  key(event, input, p, h, w) {
    if (event.key === "Escape") {
      input.value = input.dataset.exact;
      this.accept(input);
      input.select();
      return;
    }
    const to = this.neighbour(event, input, p, h, w);
    if (to) {
      event.preventDefault();
      to.focus();  // which commits what was typed here
    }
  }

  /** The field that a key leads to: Enter and the arrows as in a table, from the last column to the next plane. */
  neighbour({key, shiftKey}, input, p, h, w) {
    const {fields} = this;
    const up = {ArrowUp: -1, ArrowDown: 1, Enter: shiftKey ? -1 : 1}[key];
    if (up) {
      const to = fields[p][h + up]?.[w];
      if (!to && key === "Enter") input.blur();
      return to;
    }
    const all = input.selectionStart === 0 && input.selectionEnd === input.value.length;
    if (key === "ArrowLeft" && (all || input.selectionEnd === 0)) return fields[p][h][w - 1] ?? fields[p - 1]?.[h].at(-1);
    if (key === "ArrowRight" && (all || input.selectionStart === input.value.length)) {
      return fields[p][h][w + 1] ?? fields[p + 1]?.[h][0];
    }
    return undefined;
  }
}

const editors = new WeakMap();

export default function ({data, parentElement, setTriggerValue}) {
  if (!data?.planes) return;
  if (!editors.has(parentElement)) {
    // The styles are there already: what is ours goes into an element of its own.
    const root = make("div");
    parentElement.append(root);
    editors.set(parentElement, new Editor(root));
  }
  editors.get(parentElement).show(data, value => setTriggerValue("edit", value));
}
