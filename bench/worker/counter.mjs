import { parentPort } from "node:worker_threads";
import { Profile } from "../cpu-profile.mjs";

/** Counts what a worker gets, and reports when it has as much as it was told to expect. */
export class Counter {
  #expected = Infinity;
  #count = 0;
  #sum = 0;
  #profile = null;

  /** True where a message was for it. */
  told(message) {
    if (message?.report === true) {
      parentPort.postMessage({ count: this.#count, sum: this.#sum });
      this.#count = 0;
      this.#sum = 0;
      return true;
    }
    if (message?.profile !== undefined) {
      void this.#toldOfProfile(message.profile);
      return true;
    }
    if (message?.expect === undefined) return false;
    this.#expected = message.expect;
    this.#count = 0;
    this.#sum = 0;
    parentPort.postMessage("expecting");
    return true;
  }

  /** Payloads of the pool have an id; a buffer begins with one. */
  add(data) {
    this.#count += 1;
    this.#sum += data instanceof ArrayBuffer ? new Uint32Array(data, 0, 1)[0] : (data.id ?? 0);
    if (this.#count === this.#expected) parentPort.postMessage({ count: this.#count, sum: this.#sum });
  }

  async #toldOfProfile(step) {
    if (step === "start") this.#profile = await Profile.start();
    parentPort.postMessage({ profile: step === "start" ? [] : await this.#profile.stop() });
  }
}
