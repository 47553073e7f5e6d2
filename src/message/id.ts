/** Crockford's base 32: digits that sort as their values do and cannot be misread. */
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function encode(value: number, digits: number): string {
  let text = "";
  for (let rest = Math.floor(value), left = digits; left > 0; left -= 1) {
    text = (alphabet[rest % 32] as string) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

/** Eight random digits that tell one broker's ids from another's. */
export function idNonce(random: () => number): string {
  return encode(Math.floor(random() * 2 ** 40), 8);
}

/**
 * The id of a message that was given none: 26 characters shaped like a ULID (github.com/ulid/spec), so that
 * they sort by time: 10 of the millisecond, 8 of the sequence, 8 that are the broker's own.
 *
 * It is a function of what the message holds already, so it costs nothing until somebody reads it.
 *
 * @example
 * ```ts
 * import { messageId } from "inproc-broker";
 *
 * const nonce = msg.id.slice(18); // of a message that was given no id
 * messageId(msg.timestamp, msg.seq, nonce) === msg.id; // true
 * ```
 */
export function messageId(timestamp: number, seq: number, nonce: string): string {
  return encode(timestamp, 10) + encode(seq, 8) + nonce;
}

/** Sequence numbers whose ids share all but their last two digits, and so their beginning. */
const idsPerPrefix = 1_024;

/**
 * What `messageId` answers, for the messages of one broker as they are numbered: nearly all of an id is what the one before
 * had, so most cost no more than joining two texts.
 */
export class MessageIds {
  readonly nonce: string;
  #at = -1;
  /** The first sequence number that `#prefix` stands for. */
  #first = 0;
  #prefix = "";
  /** Last two digits of the sequence and the nonce, made as they are needed. */
  readonly #suffixes: string[] = [];

  constructor(nonce: string) {
    this.nonce = nonce;
  }

  idOf(timestamp: number, seq: number): string {
    const index = seq - this.#first;
    if (timestamp !== this.#at || index < 0 || index >= idsPerPrefix) return this.#afresh(timestamp, seq);
    return this.#prefix + (this.#suffixes[index] ?? this.#suffix(index));
  }

  #afresh(timestamp: number, seq: number): string {
    this.#at = timestamp;
    this.#first = seq - (seq % idsPerPrefix);
    this.#prefix = encode(timestamp, 10) + encode(this.#first / idsPerPrefix, 6);
    return this.idOf(timestamp, seq);
  }

  #suffix(index: number): string {
    const suffix = encode(index, 2) + this.nonce;
    this.#suffixes[index] = suffix;
    return suffix;
  }
}

/** The sequence number that `messageId` put into an id; of any other text a number that means nothing, or NaN. */
export function sequenceIn(id: string): number {
  if (id.length !== 26) return NaN;
  let seq = 0;
  for (let index = 10; index < 18; index += 1) seq = seq * 32 + alphabet.indexOf(id.charAt(index));
  return seq;
}
