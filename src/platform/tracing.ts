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
  const channel = tracingChannel<unknown, Context>(name);
  const { start, end, asyncStart, asyncEnd, error } = channel;
  return {
    get isActive() {
      return (
        start.hasSubscribers ||
        end.hasSubscribers ||
        asyncStart.hasSubscribers ||
        asyncEnd.hasSubscribers ||
        error.hasSubscribers
      );
    },
    trace(context, run) {
      let isAsync = false;
      const traced = channel.traceSync(() => {
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
          asyncStart.publish(context);
          asyncEnd.publish(context);
        },
        (failure: unknown) => {
          Object.assign(context, { error: failure, result: undefined });
          error.publish(context);
          asyncStart.publish(context);
          asyncEnd.publish(context);
        },
      );
      return traced;
    },
  };
}
