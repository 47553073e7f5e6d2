import type { HistoryEntry } from "./history.js";

/** Entries that a failure text lists. */
const listed = 20;
const longestData = 120;

/** A payload for a failure text: short, on one line, and safe whatever it is. */
export function showData(data: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(data, (_name, value: unknown) => (typeof value === "bigint" ? `${value}n` : value));
  } catch {
    text = "(data that cannot be shown)";
  }
  text ??= String(data);
  return text.length > longestData ? `${text.slice(0, longestData - 3)}...` : text;
}

/** One entry on one line. */
export function showEntry(entry: HistoryEntry): string {
  const { kind, topic, data, subscription, deliveryCount, matched, dueAt, delay, reason, error } = entry;
  const facts = [
    subscription === undefined ? "" : `${kind === "delivered" ? "to" : "in"} ${subscription}`,
    deliveryCount === undefined || deliveryCount === 1 ? "" : `delivery ${deliveryCount}`,
    matched === 0 ? "nobody subscribed" : "",
    dueAt === undefined ? "" : `until ${new Intl.DateTimeFormat("sv-SE", utc).format(dueAt)}`,
    delay === undefined ? "" : `again in ${delay} ms`,
    reason === undefined ? "" : JSON.stringify(reason),
    error === undefined ? "" : error instanceof Error ? String(error) : showData(error),
  ].filter((fact) => fact !== "");
  const what = topic === "" ? kind : `${kind} ${topic} ${showData(data)}`;
  return facts.length === 0 ? what : `${what} (${facts.join(", ")})`;
}

const utc = { timeZone: "UTC", dateStyle: "short", timeStyle: "medium" } as const;

/** Lines for a failure text: what there was instead. */
export function showEntries(what: string, entries: readonly HistoryEntry[]): string {
  if (entries.length === 0) return `  ${what}: nothing`;
  const shown = entries.slice(-listed);
  const more = entries.length - shown.length;
  return [
    `  ${what}:`,
    ...(more > 0 ? [`    (${more} earlier ones left out)`] : []),
    ...shown.map((entry) => `    ${showEntry(entry)}`),
  ].join("\n");
}
