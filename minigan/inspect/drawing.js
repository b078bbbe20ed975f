// A click on a box opens or closes it: rows are stacked anew by their heights and edges drawn again, by the formulas of
// `row_tops` and `curve` in layout.py.
(() => {
  const own = document.currentScript, svg = own && own.closest ? own.closest("svg") : document.documentElement;
  const all = (name) => Array.from(svg.querySelectorAll("." + name));
  const number = (element, key) => Number(element.getAttribute("data-" + key));
  const boxes = all("box"), edges = all("edge"), gap = number(svg, "gap");
  const height = (box) => number(box, number(box, "open") ? "tall" : "low");

  function layout() {
    const heights = [], tops = [];
    for (const box of boxes) heights[number(box, "row")] = Math.max(heights[number(box, "row")] || 0, height(box));
    const bottom = heights.reduce((y, h, row) => { tops[row] = y; return y + h + gap; }, number(svg, "top"));
    for (const box of boxes) {
      const open = number(box, "open");
      box.setAttribute("transform", `translate(${number(box, "x")},${tops[number(box, "row")]})`);
      box.querySelector(".frame").setAttribute("height", height(box));
      box.querySelector(".mark").setAttribute("transform", "translate(13,13)" + (open ? " rotate(90)" : ""));
      box.querySelector(".body").setAttribute("display", open ? "inline" : "none");
    }
    for (const edge of edges) {
      const first = number(edge, "row"), xs = edge.getAttribute("data-xs").split(" ");
      let d = `M${xs[0]},${tops[first] + height(boxes[number(edge, "from")])}`;
      for (let i = 1; i < xs.length; i++) {
        const top = tops[first + i], middle = top - gap / 2;
        d += `V${top - gap}C${xs[i - 1]},${middle} ${xs[i]},${middle} ${xs[i]},${top}`;
      }
      edge.setAttribute("d", d);
    }
    for (const sheet of [svg, ...all("paper")]) sheet.setAttribute("height", bottom);
    svg.setAttribute("viewBox", `0 0 ${number(svg, "wide")} ${bottom}`);
  }

  for (const box of boxes) {
    const turn = () => { box.setAttribute("data-open", number(box, "open") ? 0 : 1); layout(); };
    box.querySelector(".head").addEventListener("click", turn);
    box.addEventListener("keydown", (event) => { if (event.key === "Enter") turn(); });
  }
  for (const hint of all("hint")) hint.setAttribute("display", "inline");
})();
