/** What a failed assertion throws; runners show `expected` and `actual` as a difference where there are any. */
export class KitAssertionError extends Error {
  /** What runners know a failed assertion by. */
  override readonly name = "AssertionError";
  /** The same, as `node:assert` has it. */
  readonly code = "ERR_ASSERTION";
}
