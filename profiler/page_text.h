#pragma once
#include <string_view>

// The fixed text of a profile page.
namespace weft::profiler {

inline constexpr std::string_view kPageStyle = R"(
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2126; --soft: #69717c; --rule: #e6e7e9;
  --op: #2f6fde; --view: #8aa0bd; --backward: #c2571a; --module: #2c8f63; --range: #7a5bc7; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --card: #1c2026; --ink: #e8eaed; --soft: #949ca8;
  --rule: #2c323a; --op: #4d86e8; --view: #61738c; --backward: #d9722f; --module: #36a373; --range: #9076d8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { margin: 0; font-size: 28px; letter-spacing: -.02em; }
h2 { margin: 0 0 10px; font-size: 16px; }
header p { margin: 4px 0 26px; color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.cards div, section { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; }
.cards div { padding: 14px 16px; }
.cards b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.cards span, .note { color: var(--soft); font-size: 13px; }
section { margin-top: 16px; padding: 18px 20px; overflow-x: auto; }
canvas { display: block; width: 100%; cursor: grab; touch-action: none; }
.note { margin: 8px 0 0; }
#reading { min-height: 3.1em; margin: 8px 0 0; font-variant-numeric: tabular-nums; white-space: pre-line; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 5px 0 14px; }
.legend i:first-child { margin-left: 0; }
.op { background: var(--op); } .view { background: var(--view); } .backward { background: var(--backward); }
.module { background: var(--module); } .range { background: var(--range); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 400; cursor: pointer; user-select: none; border-bottom: 1px solid var(--rule); }
th.by::after { content: " \25be"; }
th, td { padding: 3px 0 3px 18px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
td.bar { width: 22%; } td.bar i { display: block; height: 9px; border-radius: 3px; min-width: 1px; }
tr:hover td { background: color-mix(in srgb, var(--rule) 50%, transparent); }
)";

// Reads `names`, `modules`, `kinds` and `events`: [start us, duration us, row, name, module, kind].
inline constexpr std::string_view kPageScript = R"(
const canvas = document.getElementById('time'), reading = document.getElementById('reading');
const rowHeight = 19, axis = 22, depth = Math.max(0, ...events.map(e => e[2])) + 1;
const end = Math.max(1, ...events.map(e => e[0] + e[1]));
let from = 0, to = end, hovered = null, drag = null;
const us = v => v >= 1e6 ? (v / 1e6).toFixed(3) + ' s' : v >= 1e3 ? (v / 1e3).toFixed(3) + ' ms' : v.toFixed(2) + ' \u00b5s';
function draw() {
  const width = canvas.clientWidth, height = axis + depth * rowHeight, scale = devicePixelRatio || 1;
  canvas.width = width * scale; canvas.height = height * scale; canvas.style.height = height + 'px';
  const g = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const colors = kinds.map(k => style.getPropertyValue('--' + k)), soft = style.getPropertyValue('--soft');
  g.scale(scale, scale); g.font = '12px system-ui, sans-serif'; g.textBaseline = 'middle';
  const x = t => (t - from) / (to - from) * width;
  let step = 10 ** Math.floor(Math.log10((to - from) / 6));
  step *= [1, 2, 5, 10].find(s => (to - from) / (step * s) <= 9) || 10;
  g.strokeStyle = style.getPropertyValue('--rule'); g.fillStyle = soft;
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    g.beginPath(); g.moveTo(x(t), axis - 6); g.lineTo(x(t), height); g.stroke();
    g.fillText(us(t), x(t) + 4, 8);
  }
  for (const e of events) {
    const left = Math.max(x(e[0]), 0), right = Math.min(x(e[0] + e[1]), width);
    if (right < 0 || left > width) continue;
    const w = Math.max(right - left - (right - left > 3 ? 1 : 0), .6), top = axis + e[2] * rowHeight;
    g.globalAlpha = e === hovered ? .65 : 1; g.fillStyle = colors[e[5]]; g.fillRect(left, top, w, rowHeight - 2);
    if (w < 30) continue;
    g.fillStyle = '#fff'; g.save(); g.beginPath(); g.rect(left, top, w - 3, rowHeight); g.clip();
    g.fillText(names[e[3]], left + 4, top + rowHeight / 2 - .5); g.restore();
  }
  g.globalAlpha = 1;
}
function move(start) {
  const span = Math.min(to - from, end); from = Math.min(Math.max(start, 0), end - span); to = from + span; draw();
}
canvas.addEventListener('wheel', e => {
  e.preventDefault();
  const at = from + e.offsetX / canvas.clientWidth * (to - from);
  const span = Math.min(Math.max((to - from) * 1.002 ** e.deltaY, .5), end);
  to = from + span; move(at - e.offsetX / canvas.clientWidth * span);
}, { passive: false });
canvas.addEventListener('pointerdown', e => { drag = [e.offsetX, from]; canvas.setPointerCapture(e.pointerId); });
canvas.addEventListener('pointerup', () => drag = null);
canvas.addEventListener('dblclick', () => { from = 0; to = end; draw(); });
canvas.addEventListener('pointermove', e => {
  if (drag) return move(drag[1] - (e.offsetX - drag[0]) / canvas.clientWidth * (to - from));
  const t = from + e.offsetX / canvas.clientWidth * (to - from), row = Math.floor((e.offsetY - axis) / rowHeight);
  const slack = (to - from) / canvas.clientWidth;
  const found = events.find(v => v[2] === row && v[0] - slack <= t && t <= v[0] + v[1] + slack) || null;
  if (found === hovered) return;
  hovered = found; draw();
  reading.textContent = found ? `${names[found[3]]}: ${us(found[1])}, from ${us(found[0])}` +
    (modules[found[4]] ? `\nin ${modules[found[4]]}` : '') : '';
});
addEventListener('resize', draw);
draw();
for (const table of document.querySelectorAll('table')) table.querySelectorAll('th').forEach((head, column) =>
  head.addEventListener('click', () => {
    const value = r => { const c = r.cells[column]; return 'v' in c.dataset ? +c.dataset.v : c.textContent; };
    const rows = [...table.tBodies[0].rows], down = !head.classList.contains('by');
    table.querySelectorAll('th').forEach(h => h.classList.remove('by'));
    if (down) head.classList.add('by');
    rows.sort((a, b) => { const x = value(a), y = value(b), o = x < y ? -1 : x > y ? 1 : 0;
      return typeof x === 'number' ? (down ? -o : o) : (down ? o : -o); });
    table.tBodies[0].append(...rows);
  }));
)";

}  // namespace weft::profiler
