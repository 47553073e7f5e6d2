/** How often: below 1 a probability, from 1 on the next so many (`Infinity`: all). */
export type Share = number;

/** A fault that is in force. */
export interface FaultHandle {
  /** How often it has struck. */
  readonly count: number;
  /** Ends it. A repeat does nothing. */
  stop(): void;
}
