/** Results as markdown tables. Pure functions over what the harness returns. */

/** One heading and one table for the scenarios of a group. */
export function formatGroup(group, scenarios) {
  const lines = scenarios.flatMap((scenario) => tables[scenario.kind](scenario));
  return `## ${group}\n\n${formatTable(columns[scenarios[0].kind](scenarios[0]), lines)}`;
}

const columns = {
  rate: () => ["scenario", "", "ours", "peer", "peer's", "ratio", "target", ""],
  cost: () => ["scenario", "", "cost of one, many", "cost of one, few", "ratio", "target", ""],
  figures: ({ columns: own }) => own,
};

const tables = {
  rate: ({ name, contenders, rows }) =>
    rows.map((row) => [
      `\`${name}\``,
      row.label,
      formatRate(contenders[row.contender].rate),
      contenders[row.against].label,
      formatRate(contenders[row.against].rate),
      formatRatio(row.ratio),
      row.atLeast === undefined ? "" : `≥ ${row.atLeast} ×`,
      mark(row.pass, row.noisy),
    ]),
  cost: ({ name, contenders, rows }) =>
    rows.map((row) => [
      `\`${name}\``,
      row.label,
      formatCost(contenders[row.contender].rate),
      formatCost(contenders[row.against].rate),
      formatRatio(row.ratio),
      row.atMost === undefined ? "" : `≤ ${row.atMost} ×`,
      mark(row.pass, row.noisy),
    ]),
  figures: ({ columns: own, rows }) =>
    rows.map(({ cells, pass }) => (cells.length < own.length ? [...cells, mark(pass)] : cells)),
};

const mark = (pass, noisy) =>
  [pass === undefined ? "" : pass ? "pass" : "**miss**", noisy ? "(noisy)" : ""].join(" ").trim();

function formatRate({ median, min, max }) {
  const [unit, divisor] = median >= 1e6 ? ["M/s", 1e6] : ["k/s", 1e3];
  const [a, b, c] = [median, min, max].map((rate) => significant(rate / divisor));
  return `${a} ${unit} (${b}–${c})`;
}

/** Time for one operation, from the rate: the fastest sample has the least cost. */
function formatCost({ median, min, max }) {
  const [a, b, c] = [median, max, min].map((rate) => significant(1e6 / rate));
  return `${a} µs (${b}–${c})`;
}

const formatRatio = ({ median, min, max }) => `${significant(median)} × (${significant(min)}–${significant(max)})`;

function significant(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function formatTable(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
