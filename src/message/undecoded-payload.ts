/**
 * A stored payload that its codec could not read, as bytes: what a dead letter has in place of its data. A store that is given
 * it back keeps it under the codec it was made with, so that a codec that can read it finds it whole.
 */
export class UndecodedPayload extends Uint8Array {
  /** The codec's number in the store. */
  readonly codec: number;

  constructor(bytes: Uint8Array, codec: number) {
    super(bytes);
    this.codec = codec;
  }

  /** Copies and parts of it are plain bytes. */
  static get [Symbol.species](): Uint8ArrayConstructor {
    return Uint8Array;
  }
}
