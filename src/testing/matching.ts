import type { HistoryEntry, HistoryKind, HistoryView } from "./history.js";
import { isEntry } from "./history.js";
import { showData } from "./show.js";

/** Which messages are meant, besides their topic. Every condition given must hold. */
export interface Expectation<Data = unknown> {
  /** How many there are, exactly; absent: at least one. */
  readonly times?: number;
  /**
   * What the data looks like: an object whose properties must be there and be equal (others may be there too), a value, a
   * runner's asymmetric matcher, or a function that says so.
   */
  readonly match?: ((data: Data) => boolean) | object | string | number | bigint | boolean | null | undefined;
  /** Headers that must be there and be equal. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Its key. */
  readonly key?: string;
  /** Its priority, 0 to 9. */
  readonly priority?: number;
  /** The subscription or group that it concerns; a publish concerns none. */
  readonly subscription?: string;
  /** Why it was dropped, dead-lettered, given back or rejected. */
  readonly reason?: string;
  /** A last condition, on all that is known. */
  readonly where?: (entry: HistoryEntry<Data>) => boolean;
}

/** The entries of a kind, on topics that match, that meet the expectation (`times` aside). */
export function findEntries(
  view: HistoryView,
  kind: HistoryKind,
  pattern: string,
  expectation: Expectation<never> = {},
): HistoryEntry[] {
  return view.history().filter((entry) => isEntry(entry, kind, pattern) && meets(entry, expectation));
}

/** Whether an entry meets an expectation, `times` aside. */
export function meets(entry: HistoryEntry, expectation: Expectation<never>): boolean {
  const { match, headers, key, priority, subscription, reason, where } = expectation;
  return (
    (match === undefined || matchesData(match, entry.data)) &&
    (headers === undefined || Object.entries(headers).every(([name, value]) => entry.headers[name] === value)) &&
    (key === undefined || entry.key === key) &&
    (priority === undefined || entry.priority === priority) &&
    (subscription === undefined || entry.subscription === subscription) &&
    (reason === undefined || entry.reason === reason) &&
    (where === undefined || where(entry as HistoryEntry<never>))
  );
}

/** The conditions of an expectation, for a failure text. */
export function showExpectation(expectation: Expectation<never>): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(expectation)) {
    if (name !== "times" && value !== undefined) {
      parts.push(`${name} ${typeof value === "function" ? "(a function)" : showData(value)}`);
    }
  }
  return parts.length === 0 ? "" : ` with ${parts.join(", ")}`;
}

function matchesData(wanted: unknown, data: unknown): boolean {
  if (typeof wanted === "function") return (wanted as (data: unknown) => unknown)(data) === true;
  if (typeof wanted !== "object" || wanted === null) return Object.is(wanted, data);
  if ("asymmetricMatch" in wanted && typeof wanted.asymmetricMatch === "function") {
    return (wanted.asymmetricMatch as (data: unknown) => unknown)(data) === true;
  }
  if (typeof data !== "object" || data === null) return false;
  if (isTime(wanted)) return isTime(data) && wanted.getTime() === data.getTime();
  if (ArrayBuffer.isView(wanted)) return ArrayBuffer.isView(data) && bytesOf(wanted) === bytesOf(data);
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(data) && wanted.length === data.length && wanted.every((one, at) => matchesData(one, data[at]))
    );
  }
  const values = data as Readonly<Record<string, unknown>>;
  return Object.entries(wanted).every(([name, value]) => matchesData(value, values[name]));
}

function isTime(value: object): value is { getTime(): number } {
  return value instanceof Date;
}

function bytesOf(view: ArrayBufferView): string {
  return String(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
}
