import { MessageChannel } from "node:worker_threads";
import { onTestFinished } from "vitest";
import type { BrokerOptions } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import type { ExposedBroker, ExposeOptions, RemoteBroker } from "inproc-broker/worker";
import { connectBroker, exposeBroker } from "inproc-broker/worker";

/** A broker, and clients of it over ports: everything but the threads. */
export interface Rig {
  readonly broker: InProcBroker;
  readonly handle: ExposedBroker;
  readonly client: RemoteBroker;
  /** One more client. */
  join(options?: ExposeOptions): { handle: ExposedBroker; client: RemoteBroker };
}

export function openRig(options: BrokerOptions = {}, expose: ExposeOptions = {}): Rig {
  const broker = new InProcBroker(options);
  const join = (given: ExposeOptions = {}): { handle: ExposedBroker; client: RemoteBroker } => {
    const { port1, port2 } = new MessageChannel();
    const handle = exposeBroker(broker, port1, given);
    const client = connectBroker(port2);
    onTestFinished(async () => {
      await client.close({ drain: false });
      await handle.close();
    });
    return { handle, client };
  };
  onTestFinished(async () => {
    await broker.close({ drain: false });
  });
  return { broker, ...join(expose), join };
}

/** A promise, and what decides it. */
export function deferred<Value = void>(): { promise: Promise<Value>; resolve: (value: Value) => void } {
  let resolve: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((take) => {
    resolve = take;
  });
  return { promise, resolve };
}

/** Collects what comes, and resolves once there is so much. */
export class Collector<Item> {
  readonly items: Item[] = [];
  #waiters: { count: number; resolve: () => void }[] = [];

  readonly add = (item: Item): void => {
    this.items.push(item);
    this.#waiters = this.#waiters.filter(({ count, resolve }) => {
      if (this.items.length < count) return true;
      resolve();
      return false;
    });
  };

  async until(count: number): Promise<Item[]> {
    if (this.items.length < count) {
      await new Promise<void>((resolve) => this.#waiters.push({ count, resolve }));
    }
    return this.items;
  }
}

/** The error a promise is rejected with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}
