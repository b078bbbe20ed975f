// A click on a box opens or closes it. Rows are stacked by their heights again and edges drawn anew, by the same
// formulas as in drawing.py: see `_tops` and `_curve` there.
(() => {
  const own = document.currentScript;
  const svg = own && own.closest ? own.closest("svg") : document.documentElement;
  const all = (name) => Array.from(svg.querySelectorAll("." + name));
  const number = (element, key) => Number(element.getAttribute("data-" + key));
  const boxes = all("box"), edges = all("edge"), gap = number(svg, "gap");
  const isOpen = (box) => box.getAttribute("data-open") === "1";
  const height = (box) => number(box, isOpen(box) ? "tall" : "low");

  function layout() {
    const rows = [], tops = [];
    for (const box of boxes) rows[number(box, "row")] = Math.max(rows[number(box, "row")] || 0, height(box));
    let y = number(svg, "top");
    rows.forEach((h, row) => { tops[row] = y; y += h + gap; });
    for (const box of boxes) {
      box.setAttribute("transform", `translate(${number(box, "x")},${tops[number(box, "row")]})`);
      box.querySelector(".frame").setAttribute("height", height(box));
      box.querySelector(".mark").setAttribute("transform", isOpen(box) ? "translate(13,13) rotate(90)" : "translate(13,13)");
      box.querySelector(".body").setAttribute("display", isOpen(box) ? "inline" : "none");
    }
    for (const edge of edges) {
      const first = number(edge, "row"), xs = edge.getAttribute("data-xs").split(" ");
      let d = `M${xs[0]},${tops[first] + height(boxes[number(edge, "from")])}`;
      for (let i = 1; i < xs.length; i++) {
        const top = tops[first + i], bottom = top - gap, middle = top - gap / 2;
        d += `V${bottom}C${xs[i - 1]},${middle} ${xs[i]},${middle} ${xs[i]},${top}`;
      }
      edge.setAttribute("d", d);
    }
    svg.setAttribute("height", y);
    svg.setAttribute("viewBox", `0 0 ${number(svg, "wide")} ${y}`);
    svg.querySelector(".paper").setAttribute("height", y);
  }

  for (const box of boxes) {
    const turn = () => { box.setAttribute("data-open", isOpen(box) ? "0" : "1"); layout(); };
    box.querySelector(".head").addEventListener("click", turn);
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); turn(); }
    });
  }
  for (const hint of all("hint")) hint.setAttribute("display", "inline");
})();
