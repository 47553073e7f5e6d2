import type { Transferable } from "node:worker_threads";
import type { Message } from "../index.js";
import { messageFacts } from "../index.js";
import type { FrameWriter } from "./frame-writer.js";
import { tell } from "./protocol.js";
import type { TopicNumbers } from "./topic-numbers.js";

/** Where in a `deliver` frame its count stands, and its first data. */
const countAt = 5;
const headLength = 7;
/** Where an id that the broker made has the broker's own characters; see `messageId`. */
const nonceAt = 18;

/**
 * Writes deliveries: those of one subscription, topic and moment, published one after another, that nothing sets apart share
 * a frame, in which each costs its data and nothing else.
 */
export class DeliveryWriter {
  readonly #writer: FrameWriter;
  readonly #topics: TopicNumbers;
  // The frame that is written at the moment; null where the next delivery begins another.
  #batch: unknown[] | null = null;
  #start = 0;
  #end = 0;
  #subscription = 0;
  #topic = "";
  #timestamp = 0;
  #seq = 0;
  #hasNonce = false;

  constructor(writer: FrameWriter, topics: TopicNumbers) {
    this.#writer = writer;
    this.#topics = topics;
  }

  write(subscription: number, number: number, message: Message, transfer: readonly Transferable[] | undefined): void {
    const facts = messageFacts(message);
    const { topic, timestamp } = message;
    if (facts !== null) {
      const topicNumber = this.#topics.of(topic);
      const batch = this.#writer.begin();
      batch.push(tell.deliverWithFacts, subscription, number, topicNumber, timestamp, message.seq, message.data, facts);
    } else if (this.#continues(subscription, topic, timestamp, message.seq)) {
      const batch = this.#batch as unknown[];
      batch.push(message.data);
      this.#seq += 1;
      (batch[this.#start + countAt] as number) += 1;
      this.#end = batch.length;
    } else {
      if (!this.#hasNonce) {
        this.#hasNonce = true;
        this.#writer.write([tell.nonce, message.id.slice(nonceAt)]);
      }
      const topicNumber = this.#topics.of(topic);
      const batch = this.#writer.begin();
      this.#batch = batch;
      this.#start = batch.length;
      this.#subscription = subscription;
      this.#topic = topic;
      this.#timestamp = timestamp;
      this.#seq = message.seq;
      batch.push(tell.deliver, subscription, number, topicNumber, timestamp, 1, message.seq, message.data);
      this.#end = batch.length;
    }
    if (transfer !== undefined) this.#writer.transfer(transfer);
    this.#writer.end();
  }

  /** A refused frame of several deliveries, in frames of one each; null where it is one already. */
  static apart(frame: readonly unknown[]): (readonly unknown[])[] | null {
    if (frame[0] !== tell.deliver || frame[countAt] === 1) return null;
    const [operation, subscription, first = 0, topic, timestamp, count, seq = 0] = frame as readonly number[];
    return Array.from({ length: count as number }, (_, index) => {
      const data = frame[headLength + index];
      return [operation, subscription, first + index, topic, timestamp, 1, seq + index, data];
    });
  }

  #continues(subscription: number, topic: string, timestamp: number, seq: number): boolean {
    return (
      this.#seq + 1 === seq &&
      this.#subscription === subscription &&
      this.#topic === topic &&
      this.#timestamp === timestamp &&
      this.#batch !== null &&
      this.#writer.isLast(this.#batch, this.#end)
    );
  }
}
