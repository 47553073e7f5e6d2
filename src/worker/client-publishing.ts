import type { Transferable } from "node:worker_threads";
import type { Message, PublishOptions, Receipt, ReplyOptions, RequestOptions } from "../index.js";
import type { ClientCalls } from "./client-calls.js";
import { ask } from "./protocol.js";
import type { TopicNumbers } from "./topic-numbers.js";
import { brokerError, quietly } from "./wire-error.js";

/** Publish options of a client: those of the broker, and what moves. */
export interface WorkerPublishOptions extends PublishOptions {
  /** ArrayBuffers (and other transferables) in the data that move to the broker's thread instead of being copied. */
  readonly transfer?: readonly Transferable[];
}

/** The calls of a client that publish something: messages, requests, answers. Signals stay here; that there is one is said. */
export class ClientPublishing {
  readonly #calls: ClientCalls;
  readonly #topicNumbers: TopicNumbers;

  constructor(calls: ClientCalls, topicNumbers: TopicNumbers) {
    this.#calls = calls;
    this.#topicNumbers = topicNumbers;
  }

  publish(topic: string, data: unknown, options: WorkerPublishOptions | undefined): Promise<Receipt> {
    if (options === undefined) {
      return this.#calls.make((call) => [
        ask.publish,
        call,
        this.#topicNumbers.of(topic),
        data,
        null,
      ]) as Promise<Receipt>;
    }
    const { transfer, signal, ...rest } = options;
    return this.#calls.makeAbortable(
      signal,
      (call, hasSignal) => [
        ask.publish,
        call,
        this.#topicNumbers.of(topic),
        data,
        hasSignal ? { ...rest, signal: true } : rest,
      ],
      transfer,
    ) as Promise<Receipt>;
  }

  /** All or none: a signal of one entry is one of the call. */
  publishBatch(entries: readonly unknown[]): Promise<Receipt[]> {
    const transfers: Transferable[] = [];
    const signals = new Set<AbortSignal>();
    const plain = entries.map((entry) => {
      if (typeof entry !== "object" || entry === null) return entry;
      const { transfer, signal, ...rest } = entry as WorkerPublishOptions;
      if (transfer !== undefined) transfers.push(...transfer);
      if (signal === undefined) return rest;
      signals.add(signal);
      return { ...rest, signal: true };
    });
    const [first] = signals;
    const signal = signals.size > 1 ? AbortSignal.any([...signals]) : first;
    return this.#calls.makeAbortable(signal, (call) => [ask.publishBatch, call, plain], transfers) as Promise<
      Receipt[]
    >;
  }

  request(topic: string, data: unknown, { signal, ...rest }: RequestOptions): Promise<unknown> {
    return this.#calls.makeAbortable(signal, (call, hasSignal) => [
      ask.request,
      call,
      this.#topicNumbers.of(topic),
      data,
      hasSignal ? { ...rest, signal: true } : rest,
    ]);
  }

  /** Answers a message that was requested. */
  reply({ topic, replyTo, correlationId }: Message, data: unknown, options: ReplyOptions): Promise<void> {
    if (replyTo === undefined) {
      return quietly(
        brokerError(
          "ERR_INVALID_MESSAGE",
          `the message on ${JSON.stringify(topic)} asks for no answer: it was published, not requested`,
          { topic },
        ),
      );
    }
    const given = correlationId === undefined ? options : { ...options, correlationId };
    return this.#calls.make((call) => [ask.reply, call, replyTo, data, given]) as Promise<void>;
  }
}
