#pragma once
#include <string_view>

// The fixed text of a report page.
namespace weft::demo {

inline constexpr std::string_view kPageStyle = R"(
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2126; --soft: #69717c; --rule: #e6e7e9;
  --train: #2f6fde; --val: #e0762b; --good: #1f9254; --bad: #d43d3d; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --card: #1c2026; --ink: #e8eaed; --soft: #949ca8;
  --rule: #2c323a; --train: #6ea3ff; --val: #f39a56; --good: #4fc587; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { margin: 0; font-size: 28px; letter-spacing: -.02em; }
h2 { margin: 0 0 10px; font-size: 16px; }
header p { margin: 4px 0 26px; color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; }
.cards div, section { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; }
.cards div { padding: 14px 16px; }
.cards b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.cards span { color: var(--soft); font-size: 13px; }
section { margin-top: 16px; padding: 18px 20px; }
svg { display: block; width: 100%; height: auto; cursor: crosshair; }
svg text { fill: var(--soft); font-size: 12px; text-anchor: middle; font-variant-numeric: tabular-nums; }
svg text.left { text-anchor: end; }
.grid { stroke: var(--rule); }
polyline { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.raw { stroke: var(--train); opacity: .25; }
polyline.train { stroke: var(--train); stroke-width: 2; }
polyline.val { stroke: var(--val); stroke-width: 2; }
circle.val { fill: var(--card); stroke: var(--val); stroke-width: 2; }
#cursor { stroke: var(--soft); stroke-dasharray: 3 3; }
#reading { margin: 6px 0 0; text-align: center; font-variant-numeric: tabular-nums; }
.legend { margin: -4px 0 8px; color: var(--soft); font-size: 13px; }
.legend i { display: inline-block; width: 18px; height: 3px; border-radius: 2px; margin: 0 6px 3px 0; vertical-align: middle; }
.legend i + i, .legend .val { margin-left: 14px; }
i.train { background: var(--train); } i.val { background: var(--val); }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13.5px/1.6 ui-monospace, monospace; }
table { border-collapse: collapse; }
th, td { padding: 3px 28px 3px 0; text-align: left; font-weight: 400; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); white-space: nowrap; }
.digits { display: grid; grid-template-columns: repeat(auto-fill, minmax(64px, 1fr)); gap: 10px; }
figure { margin: 0; text-align: center; }
figure img { width: 100%; display: block; border-radius: 6px; image-rendering: pixelated; }
figcaption { font-weight: 600; font-variant-numeric: tabular-nums; }
.right figcaption { color: var(--good); } .wrong figcaption { color: var(--bad); }
.wrong img { outline: 2px solid var(--bad); }
small { font-weight: 400; color: var(--soft); }
)";

// Shows the losses of the step under the pointer. Reads rows, left, right, width.
inline constexpr std::string_view kPageScript = R"(
const chart = document.getElementById('chart'), cursor = document.getElementById('cursor'), reading = document.getElementById('reading');
const first = rows[0][0], last = Math.max(rows[rows.length - 1][0], first + 1);
chart.addEventListener('pointermove', e => {
  const box = chart.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * width;
  const step = first + (x - left) / (right - left) * (last - first);
  let best = rows[0];
  for (const row of rows) if (Math.abs(row[0] - step) < Math.abs(best[0] - step)) best = row;
  const at = left + (best[0] - first) / (last - first) * (right - left);
  cursor.setAttribute('x1', at);
  cursor.setAttribute('x2', at);
  reading.textContent = `step ${best[0]}: training ${best[1]}` + (best[2] === null ? '' : `, validation ${best[2]}`);
});
)";

}  // namespace weft::demo
