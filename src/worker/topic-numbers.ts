import type { FrameWriter } from "./frame-writer.js";
import { ask, maxNumberedTopics } from "./protocol.js";

/** Gives topics numbers, and says each name once. Number 0 begins anew, so that neither side keeps more than its bound. */
export class TopicNumbers {
  readonly #writer: FrameWriter;
  readonly #numbers = new Map<string, number>();

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  /** The number of a topic; its name has been written before this returns. */
  of(topic: string): number {
    const known = this.#numbers.get(topic);
    if (known !== undefined) return known;
    if (this.#numbers.size >= maxNumberedTopics) this.#numbers.clear();
    const number = this.#numbers.size;
    this.#numbers.set(topic, number);
    // The operation has one number in both directions.
    this.#writer.writeAhead([ask.topic, number, topic]);
    return number;
  }
}

/** The other end: names by number. */
export class TopicNames {
  #names: string[] = [];

  learn(number: number, topic: string): void {
    if (number === 0) this.#names = [];
    this.#names[number] = topic;
  }

  of(number: number): string {
    return this.#names[number] as string;
  }
}
