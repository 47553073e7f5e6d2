import type { Clock } from "../platform/clock.js";

/** What a command sees of the process around it. Tests have one in memory. */
export interface Terminal {
  /** Writes to standard output; resolves when more may come. */
  out(text: string): Promise<void>;
  /** Writes to standard error: what is for people, and no part of the result. */
  err(text: string): void;
  /** Whether a person watches standard error. */
  readonly isWatched: boolean;
  /** Tells how long ago progress was shown last. */
  readonly clock: Pick<Clock, "monotonic">;
  readonly input: AsyncIterable<Uint8Array>;
}
