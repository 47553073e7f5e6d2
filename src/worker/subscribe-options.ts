import type { Backoff, Message, SubscribeOptions } from "../index.js";
import { InProcBroker } from "../index.js";
import { brokerError } from "./wire-error.js";

/** Subscribe options of a client: those of the broker, less what cannot cross a thread, and how buffers come. */
export interface WorkerSubscribeOptions<
  Received extends Message<unknown> = Message,
> extends SubscribeOptions<Received> {
  /**
   * Moves the ArrayBuffers in a message's data to this thread instead of copying them. Only for `ack: "none"`, and only where
   * nobody else has the data: another subscription, and the publisher, find its buffers empty.
   */
  readonly transfer?: boolean;
}

/** The waits of a backoff for each delivery count: where chance is at its least and at its most. */
type WaitTable = readonly (readonly [least: number, most: number])[];

/** Subscribe options on their way: functions and signals stay behind. */
export interface WireSubscribeOptions {
  readonly options: Readonly<Record<string, unknown>>;
  readonly transfer: boolean;
  readonly waits: WaitTable | null;
}

/** Delivery counts for which a backoff is asked in advance; beyond, the last one holds. */
const waitsAsked = 32;
const almostOne = 1 - 2 ** -53;

/** Checks options as the broker will, so that what it would refuse throws here, at the caller. */
export function checkSubscribe(
  patterns: string | readonly string[],
  handler: ((message: never) => unknown) | undefined,
  options: WorkerSubscribeOptions<never>,
): void {
  const {
    transfer,
    filter,
    durable,
    from,
    signal,
    group: _group,
    ...rest
  } = options as WorkerSubscribeOptions<never> & {
    durable?: unknown;
  };
  if (filter !== undefined) {
    throw brokerError(
      "ERR_INVALID_OPTION",
      "option filter is called while publishing, in the broker's thread, and a function cannot go there; " +
        "use narrower patterns, or look at the message in the handler",
      { option: "filter" },
    );
  }
  if (transfer !== undefined && typeof transfer !== "boolean") {
    throw brokerError("ERR_INVALID_OPTION", "option transfer must be true or false", { option: "transfer" });
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw brokerError("ERR_INVALID_OPTION", "option signal must be an AbortSignal", { option: "signal" });
  }
  // A broker of its own that no message ever reaches knows every rule; what needs the real one's options is left to it.
  const judge = new InProcBroker({ limits: { maxTopicLength: 2 ** 30, maxTokens: 2 ** 30 } });
  try {
    if (handler === undefined) judge.subscribe(patterns, rest);
    else judge.subscribe(patterns, handler as never, rest as never);
  } finally {
    void judge.close({ drain: false });
  }
}

/** Makes options ready for their way. */
export function toWireOptions(options: WorkerSubscribeOptions<never>): WireSubscribeOptions {
  const { transfer, backoff, signal: _signal, filter: _filter, concurrency: _concurrency, ...rest } = options;
  return { options: rest, transfer: transfer === true, waits: backoff === undefined ? null : waitsOf(backoff) };
}

/** What the broker is given of them. */
export function fromWireOptions(wire: WireSubscribeOptions): { options: SubscribeOptions; isTransferred: boolean } {
  const { waits } = wire;
  const backoff: Backoff | null =
    waits === null
      ? null
      : (deliveryCount, random) => {
          const [least, most] = waits[Math.min(deliveryCount, waits.length) - 1] as readonly [number, number];
          return least + (most - least) * random();
        };
  const options = wire.options as SubscribeOptions;
  return { options: backoff === null ? options : { ...options, backoff }, isTransferred: wire.transfer };
}

function waitsOf(backoff: Backoff): WaitTable {
  return Array.from({ length: waitsAsked }, (_, index) => [
    backoff(index + 1, () => 0),
    backoff(index + 1, () => almostOne),
  ]);
}
