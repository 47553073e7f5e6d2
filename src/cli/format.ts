/** Figures and tables for people. The same in every locale. */

export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${units[unit] ?? ""}`;
}

export function durationText(ms: number): string {
  const units = [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["min", 60_000],
    ["s", 1000],
  ] as const;
  const fit = units.find(([, length]) => ms >= length && ms % length === 0);
  return fit === undefined ? `${ms} ms` : `${ms / fit[1]} ${fit[0]}`;
}

export function timeText(ms: number): string {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? `${ms} ms` : time.toISOString();
}

/** `1 message`, `2 messages`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** What stands in one place of a table; several names stand beside each other. */
export type Cell = string | number | readonly string[];

/** Columns as wide as what is in them; figures to the right. */
export function tableText(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const isFigure = head.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === "number"));
  const lines = [head, ...rows].map((cells) => cells.map(cellText));
  // There may be more rows than a call takes arguments.
  const widths = head.map((_, column) => lines.reduce((width, line) => Math.max(width, line[column]?.length ?? 0), 0));
  const padded = (text: string, column: number): string => {
    const width = widths[column] ?? 0;
    return isFigure[column] === true ? text.padStart(width) : text.padEnd(width);
  };
  return `${lines.map((line) => line.map(padded).join("  ").trimEnd()).join("\n")}\n`;
}

function cellText(cell: Cell): string {
  return oneLine(typeof cell === "object" ? cell.join(" ") : String(cell));
}

/** A name from the store, without what would move the cursor or break the line. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

/** Labelled lines: the labels in one column. */
export function listText(entries: readonly (readonly [label: string, text: string])[]): string {
  const width = Math.max(...entries.map(([label]) => label.length));
  return `${entries.map(([label, text]) => `${label.padEnd(width)}  ${text}`).join("\n")}\n`;
}
