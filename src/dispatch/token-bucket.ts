/** How fast a subscription may be served. */
export interface RateLimit {
  /** Messages a second, on average. */
  readonly perSecond: number;
  /** Messages at once after a pause; default 1. */
  readonly burst?: number | undefined;
}

/** A token bucket: `burst` at once, `perSecond` on average. Times are milliseconds of one monotonic clock. */
export class TokenBucket {
  readonly #tokensPerMs: number;
  readonly #capacity: number;
  #tokens: number;
  #filledAt: number;

  constructor(limit: RateLimit, now: number) {
    this.#tokensPerMs = limit.perSecond / 1000;
    this.#capacity = limit.burst ?? 1;
    this.#tokens = this.#capacity;
    this.#filledAt = now;
  }

  /** Milliseconds until a token is there; 0 where one is. */
  waitMs(now: number): number {
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#filledAt) * this.#tokensPerMs);
    this.#filledAt = now;
    // A hair short of a whole token is rounding, not a token that is missing.
    return this.#tokens >= 1 - 1e-9 ? 0 : (1 - this.#tokens) / this.#tokensPerMs;
  }

  /** Takes a token. Ask `waitMs` first. */
  take(): void {
    this.#tokens -= 1;
  }
}
