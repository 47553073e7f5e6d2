import { tracingChannel } from "node:diagnostics_channel";

/**
 * One `node:diagnostics_channel` tracing channel, narrowed to what the broker needs: a question that costs
 * a nanosecond while nobody listens, and the five events when somebody does.
 */
export interface TraceChannel<Context extends object> {
  /** True while somebody listens to any of its events. */
  readonly isActive: boolean;
  /** Runs `run` between `start` and `end`; a promise it returns ends with `asyncEnd`, a failure with `error`. */
  trace<Result>(context: Context, run: () => Result): Result;
}

/** Opens `tracing:<name>:start | end | asyncStart | asyncEnd | error`. */
export function openTraceChannel<Context extends object>(name: string): TraceChannel<Context> {
  return new NodeTraceChannel<Context>(name);
}

type NodeChannel<Context extends object> = ReturnType<typeof tracingChannel<unknown, Context>>;

/** A class, and its five channels fields: as a closure's variables they cost ten times as much to ask. */
class NodeTraceChannel<Context extends object> implements TraceChannel<Context> {
  readonly #channel: NodeChannel<Context>;
  readonly #start: NodeChannel<Context>["start"];
  readonly #end: NodeChannel<Context>["end"];
  readonly #asyncStart: NodeChannel<Context>["asyncStart"];
  readonly #asyncEnd: NodeChannel<Context>["asyncEnd"];
  readonly #error: NodeChannel<Context>["error"];

  constructor(name: string) {
    this.#channel = tracingChannel<unknown, Context>(name);
    this.#start = this.#channel.start;
    this.#end = this.#channel.end;
    this.#asyncStart = this.#channel.asyncStart;
    this.#asyncEnd = this.#channel.asyncEnd;
    this.#error = this.#channel.error;
  }

  get isActive(): boolean {
    return (
      this.#start.hasSubscribers ||
      this.#end.hasSubscribers ||
      this.#asyncStart.hasSubscribers ||
      this.#asyncEnd.hasSubscribers ||
      this.#error.hasSubscribers
    );
  }

  trace<Result>(context: Context, run: () => Result): Result {
    let isAsync = false;
    const traced = this.#channel.traceSync(() => {
      const result = run();
      isAsync = result instanceof Promise;
      return result;
    }, context);
    if (!isAsync) return traced;
    // traceSync ended the synchronous part; the promise's own end is told here, since tracePromise would
    // turn every synchronous result into a promise.
    const promise = traced as Promise<unknown>;
    promise.then(
      (result) => {
        Object.assign(context, { result });
        this.#asyncStart.publish(context);
        this.#asyncEnd.publish(context);
      },
      (failure: unknown) => {
        Object.assign(context, { error: failure, result: undefined });
        this.#error.publish(context);
        this.#asyncStart.publish(context);
        this.#asyncEnd.publish(context);
      },
    );
    return traced;
  }
}
