// Draws the chain and tells what was done to it. It holds nothing: what is done comes back as a new chain.

const ARGUMENTS = {
  in: ["in", "in_channels, or the features of a norm or Linear"],
  out: ["out", "out_channels, or the features that a Linear gives"],
  kernel_size: ["kernel", "kernel_size: one number, or D, H, W"],
  stride: ["stride", "stride: one number, or D, H, W"],
  padding: ["padding", "padding: one number, or D, H, W"],
  dilation: ["dilation", "dilation: one number, or D, H, W"],
};
const FACTS = {
  output: ["output", "The shape that the layer gives, in the framework's own order of axes"],
  parameters: ["parameters", "Numbers that training changes"],
  macs: ["MACs", "Multiply-accumulates of one pass; 1 MAC is 2 FLOP"],
  memory: ["memory", "Of the output in float32"],
  unfolded: ["unfolded", "The copy of the input that MLX's CPU build makes while it runs"],
  field: ["field", "Receptive field: voxels of the input that one output spans, D × H × W"],
  jump: ["jump", "Voxels of the input between the windows of neighbouring outputs"],
};
const STATES = {failed: "does not fit", unreached: "not reached", uncertain: "uncertain"};

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

class Table {
  constructor(root) {
    this.box = make("div", {className: "chain"});
    root.replaceChildren(this.box);
  }

  show(data, send) {
    this.send = send;
    // What had the focus gets it back: the same field of the same row, whatever was done to the others.
    const focused = this.box.getRootNode().activeElement?.ariaLabel;
    this.rows = data.rows.map((layer, index) => this.row(layer, index, index === data.chosen));
    const head = make("tr", {}, make("th"), make("th", {textContent: "layer"}), ...this.heads(ARGUMENTS), ...this.heads(FACTS));
    const total = make("tr", {}, make("td"), make("td", {textContent: "total"}),
      ...Object.keys(ARGUMENTS).map(() => make("td")), ...this.facts(data.total));
    this.box.replaceChildren(make("table", {},
      make("thead", {}, head), make("tbody", {}, ...this.rows), make("tfoot", {}, total)));
    if (focused) this.labelled(focused)?.focus();
  }

  labelled(label) {
    return [...this.box.querySelectorAll("input, button")].find(({ariaLabel}) => ariaLabel === label);
  }

  heads(columns) {
    return Object.entries(columns).map(([name, [text, title]]) => make("th", {textContent: text, title, className: name}));
  }

  facts(facts) {
    return Object.keys(FACTS).map(name => {
      const cell = make("td", {className: name});
      if (name === "output" && facts.letters) cell.append(make("small", {textContent: facts.letters}), " ");
      cell.append(facts[name]);
      return cell;
    });
  }

  row(layer, index, chosen) {
    const row = make("tr", {className: layer.state});
    row.classList.toggle("chosen", chosen);
    const what = make("td", {className: "layer"}, make("b", {textContent: layer.kind}));
    if (layer.name) what.append(" ", make("span", {textContent: layer.name}));
    if (STATES[layer.state]) what.append(" ", make("i", {textContent: STATES[layer.state]}));
    if (layer.others) what.append(make("small", {textContent: layer.others}));
    const cells = Object.keys(ARGUMENTS).map(name => {
      const cell = layer.cells[name];
      return make("td", {}, ...(cell ? [this.field(index, cell)] : []));
    });
    const remove = make("button", {type: "button", textContent: "×", title: "Remove this layer", ariaLabel: `Remove layer ${index + 1}`});
    remove.onclick = () => this.send("remove", {row: index});
    row.append(make("td", {}, this.handle(row, index), remove, `${index + 1}`), what, ...cells, ...this.facts(layer.facts));
    return row;
  }

  field(index, {argument, text}) {
    const input = make("input", {value: text, ariaLabel: `${argument} of layer ${index + 1}`, spellcheck: false, autocomplete: "off"});
    input.size = Math.max(4, text.length);
    input.onfocus = () => input.select();
    input.onchange = () => {
      if (input.value.trim() !== text) this.send("edit", {row: index, argument, text: input.value});
    };
    input.onkeydown = ({key}) => {
      if (key === "Escape") input.value = text;
    };
    return input;
  }

  /** What a row is dragged by, or moved by with the arrow keys. */
  handle(row, index) {
    const button = make("button", {
      className: "handle", type: "button", textContent: "⠿", ariaLabel: `Move layer ${index + 1}`,
      title: "Drag, or press the arrow keys, to move this layer",
    });
    const move = to => {
      if (to === index || to < 0 || to >= this.rows.length) return;
      // The focus goes with the layer.
      button.ariaLabel = `Move layer ${to + 1}`;
      this.send("move", {row: index, to});
    };
    button.onkeydown = event => {
      const step = {ArrowUp: -1, ArrowDown: 1}[event.key];
      if (!step) return;
      event.preventDefault();
      move(index + step);
    };
    button.onpointerdown = event => {
      if (event.button) return;
      button.setPointerCapture(event.pointerId);
      row.classList.add("dragged");
      let place = index;
      button.onpointermove = ({clientY}) => this.mark(place = this.placeAt(clientY));
      const end = dropped => {
        button.onpointermove = button.onpointerup = button.onpointercancel = null;
        row.classList.remove("dragged");
        this.mark(-1);
        // Behind itself everything is one place further.
        if (dropped) move(place > index ? place - 1 : place);
      };
      button.onpointerup = () => end(true);
      button.onpointercancel = () => end(false);
    };
    return button;
  }

  /** Before which row a height in the page is. */
  placeAt(y) {
    const found = this.rows.findIndex(row => {
      const {top, height} = row.getBoundingClientRect();
      return y < top + height / 2;
    });
    return found < 0 ? this.rows.length : found;
  }

  mark(place) {
    this.rows.forEach((row, index) => {
      row.classList.toggle("before", index === place);
      row.classList.toggle("behind", place === this.rows.length && index === place - 1);
    });
  }
}

const tables = new WeakMap();

export default function ({data, parentElement, setTriggerValue}) {
  if (!data?.rows) return;
  if (!tables.has(parentElement)) {
    // The styles are there already: what is ours goes into an element of its own.
    const root = make("div");
    parentElement.append(root);
    tables.set(parentElement, new Table(root));
  }
  tables.get(parentElement).show(data, setTriggerValue);
}
