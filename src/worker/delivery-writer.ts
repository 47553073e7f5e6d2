import type { Transferable } from "node:worker_threads";
import type { Message } from "../index.js";
import { messageFacts } from "../index.js";
import type { FrameWriter } from "./frame-writer.js";
import { tell } from "./protocol.js";
import type { TopicNumbers } from "./topic-numbers.js";

/** Where in a `deliver` frame its count stands, and its first message. */
const countAt = 5;
const headLength = 6;
/** Where an id that the broker made has the broker's own characters; see `messageId`. */
const nonceAt = 18;

/**
 * Writes deliveries: those of one subscription, topic and moment that nothing sets apart share a frame, in which each
 * costs its data and its sequence number.
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
    } else if (this.#continues(subscription, topic, timestamp)) {
      const batch = this.#batch as unknown[];
      batch.push(message.seq, message.data);
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
      batch.push(tell.deliver, subscription, number, topicNumber, timestamp, 1, message.seq, message.data);
      this.#end = batch.length;
    }
    if (transfer !== undefined) this.#writer.transfer(transfer);
    this.#writer.end();
  }

  /** A refused frame of several deliveries, in frames of one each; null where it is one already. */
  static apart(frame: readonly unknown[]): (readonly unknown[])[] | null {
    if (frame[0] !== tell.deliver || frame[countAt] === 1) return null;
    const [operation, subscription, first, topic, timestamp] = frame as readonly number[];
    return Array.from({ length: frame[countAt] as number }, (_, index) => {
      const at = headLength + 2 * index;
      return [operation, subscription, (first as number) + index, topic, timestamp, 1, frame[at], frame[at + 1]];
    });
  }

  #continues(subscription: number, topic: string, timestamp: number): boolean {
    return (
      this.#subscription === subscription &&
      this.#topic === topic &&
      this.#timestamp === timestamp &&
      this.#batch !== null &&
      this.#writer.isLast(this.#batch, this.#end)
    );
  }
}
