// A symbol's plots are drawn when it is first shown: hidden plots have no size, and drawing all at once takes long.
const template = JSON.parse(document.getElementById("plot-template").textContent);
const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const parsed = {};

function figures(source) {
  parsed[source] ??= JSON.parse(document.getElementById(source).textContent);
  return parsed[source];
}

function show(part) {
  for (const plot of part.querySelectorAll(".plot")) {
    if (plot.classList.contains("js-plotly-plot")) {
      Plotly.Plots.resize(plot);
      continue;
    }
    const { sessions, [plot.dataset.figure]: figure } = figures(plot.dataset.source);
    const data = figure.data.map((trace) =>
      typeof trace.x === "number" ? { ...trace, x: sessions.slice(0, trace.x) } : trace,
    );
    Plotly.newPlot(plot, data, { ...figure.layout, template, autosize: true }, config);
  }
}

function toggle(part, strategy, visible) {
  for (const plot of part.querySelectorAll(".js-plotly-plot")) {
    const traces = plot.data.flatMap((trace, index) => (trace.name === strategy ? [index] : []));
    if (traces.length) Plotly.restyle(plot, { visible }, traces);
  }
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.matches("details")) target.open = true;
}

for (const part of document.querySelectorAll("details.symbol")) {
  part.addEventListener("toggle", (event) => {
    if (event.target === part && part.open) show(part);
  });
  part.addEventListener("change", ({ target }) => toggle(part, target.dataset.strategy, target.checked));
  if (part.open) show(part);
}
for (const id of ["answer", "intervals"]) show(document.getElementById(id));
window.addEventListener("hashchange", openTarget);
openTarget();
