import type { Broker, PublishOptions } from "../index.js";
import type { Allow } from "./allow-list.js";
import { requirePublish, requireReplyTo } from "./allow-list.js";
import type { WireDecision } from "./protocol.js";
import type { SessionAnswers } from "./session-answers.js";
import { plainReceipt } from "./session-answers.js";
import { brokerError } from "./wire-error.js";

/** An entry of a batch, as the client's program gave it: what is none is refused by the broker. */
type Entry = { readonly topic: string; readonly data: unknown } & PublishOptions;

/** Reply topics that a client may answer to although `allow.publish` does not name them. */
const maxReplyTopics = 10_000;

/** Carries out what a client asks of the broker, but for its subscriptions. */
export class SessionCalls {
  readonly #broker: Broker;
  readonly #allow: Allow;
  readonly #answers: SessionAnswers;
  readonly #iterations = new Map<number, AsyncIterableIterator<unknown>>();
  readonly #replyTopics = new Set<string>();

  constructor(broker: Broker, allow: Allow, answers: SessionAnswers) {
    this.#broker = broker;
    this.#allow = allow;
    this.#answers = answers;
  }

  publish(call: number, topic: string, data: unknown, options: PublishOptions | null): void {
    try {
      this.#requirePublish(topic, options);
      const broker = this.#broker;
      const publishing =
        options === null
          ? broker.publish(topic, data)
          : broker.publish(topic, data, this.#answers.withSignal(call, options));
      publishing.then(
        (receipt) => this.#answers.published(call, receipt),
        (error: unknown) => this.#answers.failed(call, error),
      );
    } catch (error) {
      this.#answers.failed(call, error);
    }
  }

  publishBatch(call: number, entries: readonly (Entry | null)[]): void {
    this.#answers.answer(call, async () => {
      for (const entry of entries) this.#requirePublish(entry?.topic, entry);
      const receipts = await this.#broker.publishBatch(this.#answers.withSignals(call, entries as readonly Entry[]));
      return receipts.map(plainReceipt);
    });
  }

  request(call: number, topic: string, data: unknown, options: object): void {
    this.#answers.answer(call, async () => {
      requirePublish(this.#allow, topic);
      return this.#broker.request(topic, data, this.#answers.withSignal(call, options));
    });
  }

  requestMany(call: number, topic: string, data: unknown, options: object): void {
    try {
      requirePublish(this.#allow, topic);
      this.#iterations.set(call, this.#broker.requestMany(topic, data, this.#answers.withSignal(call, options)));
    } catch (error) {
      this.#iterations.set(call, failing(error));
    }
  }

  moveIteration(call: number, number: number, isReturn: boolean): void {
    const iteration = this.#iterations.get(number);
    this.#answers.answer(call, async () => {
      let step: IteratorResult<unknown, unknown> = { value: undefined, done: true };
      let isOver = true;
      try {
        if (isReturn) await iteration?.return?.();
        else if (iteration !== undefined) step = await iteration.next();
        isOver = step.done === true;
      } finally {
        if (isOver) {
          this.#iterations.delete(number);
          this.#answers.forget(number);
        }
      }
      return step.done === true ? { done: true } : { value: step.value };
    });
  }

  settleById(call: number, deliveryId: string, decision: WireDecision, argument: unknown): void {
    const broker = this.#broker;
    const allow = this.#allow;
    this.#answers.answer(call, () => {
      if (allow.publish !== undefined || allow.subscribe !== undefined) {
        throw brokerError(
          "ERR_ALREADY_SETTLED",
          `no delivery ${JSON.stringify(deliveryId)} of this worker is in flight; exposeBroker's allow keeps it to its own`,
          { deliveryId },
        );
      }
      if (decision === "ack") return broker.ack(deliveryId);
      if (decision === "nack") return broker.nack(deliveryId, argument as object | undefined);
      if (decision === "reject") return broker.reject(deliveryId, argument as string | undefined);
      return broker.extend(deliveryId, argument as number);
    });
  }

  reply(call: number, topic: string, data: unknown, options: PublishOptions): void {
    this.#answers.answer(call, async () => {
      if (!this.#replyTopics.has(topic)) requirePublish(this.#allow, topic);
      requireReplyTo(this.#allow, options.replyTo);
      await this.#broker.publish(topic, data, options);
    });
  }

  /** A message that asks for an answer goes to the client: it may answer there. */
  mayReplyTo(topic: string): void {
    if (this.#allow.publish === undefined) return;
    this.#replyTopics.add(topic);
    if (this.#replyTopics.size > maxReplyTopics) {
      const [oldest] = this.#replyTopics;
      this.#replyTopics.delete(oldest as string);
    }
  }

  #requirePublish(topic: unknown, options: PublishOptions | null): void {
    requirePublish(this.#allow, topic);
    if (options !== null) requireReplyTo(this.#allow, options.replyTo);
  }

  /** The session has ended. */
  end(): void {
    for (const iteration of this.#iterations.values()) void iteration.return?.();
    this.#iterations.clear();
  }
}

/** An iteration that fails at its first step, as one of the broker would. */
function failing(error: unknown): AsyncIterableIterator<unknown> {
  return {
    next: async () => {
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
