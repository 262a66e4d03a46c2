"use strict";
for (const fig of document.querySelectorAll("figure[data-hover]")) {
  const plot = fig.querySelector(".plot"), svg = plot.querySelector("svg"), cur = svg.querySelector(".cur");
  const data = JSON.parse(fig.querySelector("script").textContent), tip = plot.querySelector(".tip");
  const step = Math.min(...data.l.map((l) => l.d));
  let at = -1;

  const short = (v, digits) => String(Number(v.toPrecision(digits)));
  const number = (v) => (Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : short(v, 4));
  const span = (v) => {
    if (v >= 3600) return Math.floor(v / 3600) + " h " + Math.round((v % 3600) / 60) + " m";
    if (v >= 60) return Math.floor(v / 60) + " m " + Math.round(v % 60) + " s";
    if (v >= 1) return short(v, 3) + " s";
    if (v >= 1e-3) return short(v * 1e3, 3) + " ms";
    return v === 0 ? "0 s" : short(v * 1e6, 3) + " \u00b5s";
  };
  const bytes = (v) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (v >= 1024 && i < 4) { v /= 1024; i++; }
    return short(v, 4) + " " + units[i];
  };
  const value = (v) => (data.u === "s" ? span(v) : data.u === "bytes" ? bytes(v) : number(v) + (data.u ? " " + data.u : ""));
  const time = (v) => (v >= 3600 ? Math.floor(v / 3600) + ":" + String(Math.floor((v % 3600) / 60)).padStart(2, "0") + ":" + String(Math.floor(v % 60)).padStart(2, "0") : v.toFixed(1) + " s");

  const hide = () => { at = -1; tip.hidden = true; cur.style.opacity = 0; };
  const show = (t) => {
    at = Math.min(Math.max(t, 0), data.e - step / 2);
    const rows = [];
    const head = document.createElement("b");
    head.textContent = data.x ? data.x[Math.min(Math.floor(at / step), data.x.length - 1)] : time(Math.floor(at / step + 1e-9) * step);
    rows.push(head);
    for (const l of data.l) {
      const i = Math.floor(at / l.d + 1e-9);
      const hi = l.h[i];
      if (hi === null || hi === undefined) continue;
      const lo = l.l ? l.l[i] : hi;
      const row = document.createElement("div"), name = document.createElement("span"), val = document.createElement("span");
      name.textContent = l.n;
      val.textContent = lo !== null && lo !== hi ? value(lo) + " to " + value(hi) : value(hi);
      row.append(name, val);
      rows.push(row);
    }
    tip.replaceChildren(...rows);
    tip.hidden = false;
    const f = at / data.e, box = svg.getBoundingClientRect(), out = plot.getBoundingClientRect();
    cur.setAttribute("x1", f * 100 + "%");
    cur.setAttribute("x2", f * 100 + "%");
    cur.style.opacity = 0.55;
    const x = box.left - out.left + f * box.width, w = tip.offsetWidth;
    tip.style.left = Math.max(0, x + 14 + w > out.width ? x - w - 14 : x + 14) + "px";
  };
  const from = (e) => {
    const box = svg.getBoundingClientRect();
    show(((e.clientX - box.left) / box.width) * data.e);
  };
  plot.addEventListener("pointermove", from);
  plot.addEventListener("pointerdown", from);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (e) => {
    if (e.key === "Escape") hide();
    else if (e.key === "ArrowRight" || e.key === "ArrowLeft") {
      show(at < 0 ? data.e / 2 : at + (e.key === "ArrowRight" ? step : -step) * (e.shiftKey ? 10 : 1));
      e.preventDefault();
    }
  });
}
