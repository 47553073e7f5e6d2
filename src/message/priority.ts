import { brokerError, quote } from "../errors.js";

/** How urgent a message is: 0 (lowest) to 9 (highest), or one of the five names. Default 4, `normal`. */
export type Priority = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | keyof typeof namedPriorities;

const namedPriorities = { lowest: 0, low: 2, normal: 4, high: 7, highest: 9 } as const;

export const defaultPriority = 4;

/** The number of a priority. Throws `ERR_INVALID_OPTION` for anything but 0–9 and the names. */
export function priorityNumber(priority: unknown): number {
  if (typeof priority === "number" && Number.isInteger(priority) && priority >= 0 && priority <= 9) {
    return priority;
  }
  if (typeof priority === "string" && Object.hasOwn(namedPriorities, priority)) {
    return namedPriorities[priority as keyof typeof namedPriorities];
  }
  throw brokerError(
    "ERR_INVALID_OPTION",
    `priority must be an integer from 0 to 9 or one of ${Object.keys(namedPriorities).join(", ")}; got ${quote(priority)}`,
    { option: "priority" },
  );
}
