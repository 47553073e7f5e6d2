import { AsyncLocalStorage } from "node:async_hooks";

/** A value that belongs to a flow of calls, promises and callbacks, and that two flows do not share. */
export interface AsyncContext<Value> {
  /** The value of the flow that asks; undefined outside of `run`. */
  get(): Value | undefined;
  /** Runs `body`, and everything it leads to, with this value. */
  run<Result>(value: Value, body: () => Result): Result;
}

/** A context of its own, on Node's `AsyncLocalStorage`. */
export function asyncContext<Value>(): AsyncContext<Value> {
  const storage = new AsyncLocalStorage<Value>();
  return { get: () => storage.getStore(), run: (value, body) => storage.run(value, body) };
}
