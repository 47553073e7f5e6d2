/** A publisher that waits for room. */
export class HeldPublisher {
  readonly bytes: number;
  /** What its promise resolves to. */
  readonly result: unknown;
  resolve: ((result: never) => void) | null = null;
  reject: ((reason: unknown) => void) | null = null;
  /** Null where it cannot give up. */
  stopListening: (() => void) | null = null;

  constructor(bytes: number, result: unknown) {
    this.bytes = bytes;
    this.result = result;
  }
}

/** Whom `settleLater` gives the ends of the promise that is being made. */
let promised: HeldPublisher | null = null;

/** One function for every promise: a closure for each publisher that waits would cost as much as its message. */
function settleLater(resolve: (result: never) => void, reject: (reason: unknown) => void): void {
  const held = promised as HeldPublisher;
  held.resolve = resolve;
  held.reject = reject;
}

/** The promise that a publisher waits on. To be called once for each. */
export function promiseOf<Result>(held: HeldPublisher): Promise<Result> {
  promised = held;
  const promise = new Promise<Result>(settleLater);
  promised = null;
  return promise;
}
