/** What a failed assertion throws; runners show `expected` and `actual` as a difference where there are any. */
export class KitAssertionError extends Error {
  override readonly name = "AssertionError";
  readonly code = "ERR_ASSERTION";
}
