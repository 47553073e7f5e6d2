import type { Transferable } from "node:worker_threads";
import type { Message } from "../index.js";
import { messageFacts } from "../index.js";
import type { FrameWriter } from "./frame-writer.js";
import { tell } from "./protocol.js";
import { Shapes } from "./records.js";
import type { Shape } from "./records.js";
import type { TopicNumbers } from "./topic-numbers.js";

/** Where in a `deliver` frame its count stands, and its first data. */
const countAt = 5;
const stepAt = 7;
const headLength = 8;
/** Where an id that the broker made has the broker's own characters; see `messageId`. */
const nonceAt = 18;

/**
 * Writes deliveries: those of one subscription, topic and moment, published one after another, that nothing sets apart share
 * a frame, in which each costs its data and nothing else; of records of one shape, the values.
 */
export class DeliveryWriter {
  readonly #writer: FrameWriter;
  readonly #topics: TopicNumbers;
  readonly #shapes: Shapes;
  // The frame that is written at the moment; null where the next delivery begins another.
  #batch: unknown[] | null = null;
  #start = 0;
  #count = 0;
  #step = 1;
  #end = 0;
  #subscription = 0;
  #topic = "";
  #timestamp = 0;
  #seq = 0;
  #shape: Shape | null = null;
  #hasNonce = false;

  constructor(writer: FrameWriter, topics: TopicNumbers) {
    this.#writer = writer;
    this.#topics = topics;
    this.#shapes = new Shapes(writer);
  }

  write(subscription: number, number: number, message: Message, transfer: readonly Transferable[] | undefined): void {
    const facts = messageFacts(message);
    const { topic, timestamp } = message;
    if (facts !== null) {
      if (facts.id === undefined) this.#sayNonce(message);
      const topicNumber = this.#topics.of(topic);
      const batch = this.#writer.begin();
      batch.push(tell.deliverWithFacts, subscription, number, topicNumber, timestamp, message.seq, message.data, facts);
    } else {
      const shape = this.#shapes.find(message.data);
      if (this.#continues(subscription, topic, timestamp, message.seq, shape)) {
        this.#count += 1;
        const head = this.#batch as unknown[];
        head[this.#start + countAt] = this.#count;
        if (this.#count === 2) {
          this.#step = message.seq - this.#seq;
          head[this.#start + stepAt] = this.#step;
        }
      } else this.#beginFrame(subscription, number, message, shape);
      const batch = this.#batch as unknown[];
      if (shape === null) batch.push(message.data);
      else this.#shapes.take(batch);
      this.#seq = message.seq;
      this.#end = batch.length;
    }
    if (transfer !== undefined) this.#writer.transfer(transfer);
    this.#writer.end();
  }

  /** A refused frame of several deliveries, in frames of one each; null where it is one already. */
  static apart(frame: readonly unknown[]): (readonly unknown[])[] | null {
    if (frame[0] !== tell.deliver || frame[countAt] === 1) return null;
    const [operation, subscription, first = 0, topic, timestamp, count, seq = 0, step = 1] = frame as readonly number[];
    return Array.from({ length: count as number }, (_, index) => {
      const data = frame[headLength + index];
      return [operation, subscription, first + index, topic, timestamp, 1, seq + index * step, 1, data];
    });
  }

  #beginFrame(subscription: number, number: number, message: Message, shape: Shape | null): void {
    this.#sayNonce(message);
    const { topic, timestamp, seq } = message;
    const topicNumber = this.#topics.of(topic);
    const batch = this.#writer.begin();
    this.#batch = batch;
    this.#start = batch.length;
    this.#count = 1;
    this.#subscription = subscription;
    this.#topic = topic;
    this.#timestamp = timestamp;
    this.#shape = shape;
    const operation = shape === null ? tell.deliver : tell.deliverRecords;
    batch.push(operation, subscription, number, topicNumber, timestamp, 1, seq, 1);
    if (shape !== null) {
      const { packed } = this.#writer;
      batch.push(shape.number, packed.count, packed.text.length);
    }
  }

  /** What ends every id that the broker makes is said once, before the first message that has such an id. */
  #sayNonce(message: Message): void {
    if (this.#hasNonce) return;
    this.#hasNonce = true;
    this.#writer.writeAhead([tell.nonce, message.id.slice(nonceAt)]);
  }

  #continues(subscription: number, topic: string, timestamp: number, seq: number, shape: Shape | null): boolean {
    return (
      // The second of a frame says how far apart they are: members of a group have every second, or third.
      (this.#count === 1 ? seq > this.#seq : seq === this.#seq + this.#step) &&
      this.#shape === shape &&
      this.#subscription === subscription &&
      this.#topic === topic &&
      this.#timestamp === timestamp &&
      this.#batch !== null &&
      this.#writer.isLast(this.#batch, this.#end)
    );
  }
}
