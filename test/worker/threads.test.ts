import { fork } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { describe, expect, it, onTestFinished } from "vitest";
import type { BrokerOptions, WorkerLostEvent } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import type { ExposedBroker, ExposeOptions } from "inproc-broker/worker";
import { connectBroker, exposeBroker } from "inproc-broker/worker";
import { Collector } from "./fixture.js";

const script = new URL("./modules/client.mjs", import.meta.url);

interface Told {
  readonly what: string;
  readonly value: unknown;
}

/** A worker thread or child process that runs `modules/client.mjs`, and what it says. */
class Peer {
  readonly got = new Collector<unknown>();
  readonly #done = new Collector<unknown>();
  readonly #up = new Collector<unknown>();
  readonly handle: ExposedBroker;
  readonly #post: (message: unknown) => void;
  #calls = 0;

  constructor(
    on: (listener: (message: Told) => void) => void,
    post: (message: unknown) => void,
    handle: ExposedBroker,
  ) {
    this.handle = handle;
    this.#post = post;
    on((message) => {
      if (message.what === "got") this.got.add(message.value);
      else if (message.what === "done") this.#done.add(message.value);
      else if (message.what === "up") this.#up.add(true);
    });
  }

  async up(): Promise<this> {
    await this.#up.until(1);
    return this;
  }

  tell(action: string, argument?: unknown): void {
    this.#post({ action, argument });
  }

  async do(action: string, argument?: unknown): Promise<void> {
    this.tell(action, argument);
    this.#calls += 1;
    await this.#done.until(this.#calls);
  }

  async lost(): Promise<WorkerLostEvent> {
    const [event] = (await once(this.handle, "worker-lost")) as [WorkerLostEvent];
    return event;
  }
}

function openBroker(options: BrokerOptions = { ack: {} }): InProcBroker {
  const broker = new InProcBroker(options);
  onTestFinished(async () => {
    await broker.close({ drain: false });
  });
  return broker;
}

/** What a broker says of the next worker it loses. */
function nextLost(broker: InProcBroker): Promise<WorkerLostEvent> {
  return new Promise((resolve) => broker.once("worker-lost", resolve));
}

function startThread(broker: InProcBroker, options: ExposeOptions = {}): { peer: Promise<Peer>; worker: Worker } {
  const worker = new Worker(script);
  onTestFinished(async () => {
    await worker.terminate();
  });
  const handle = exposeBroker(broker, worker, options);
  const peer = new Peer(
    (listener) => worker.on("message", listener),
    (message) => worker.postMessage(message),
    handle,
  );
  return { peer: peer.up(), worker };
}

describe("a worker thread", () => {
  it("uses the broker, beside its own messages, and ends by itself once it has closed its client", async () => {
    const broker = openBroker();
    const { peer: starting, worker } = startThread(broker);
    const peer = await starting;
    const seen = new Collector<unknown>();
    broker.subscribe("a", ({ data }) => seen.add(data));
    await peer.do("subscribe", { pattern: "b" });
    await peer.do("publish", { topic: "a", data: new Map([[1, 2]]) });
    await broker.publish("b", 3);
    expect(await peer.got.until(1)).toEqual([3]);
    expect(await seen.until(1)).toEqual([new Map([[1, 2]])]);
    const lost = new Collector<unknown>();
    peer.handle.on("worker-lost", lost.add);
    const exit = once(worker, "exit");
    await peer.do("close");
    expect(await exit).toEqual([0]);
    await peer.handle.closed;
    expect(lost.items).toEqual([]);
    expect(worker.listenerCount("exit")).toBe(0);
    expect(broker.subscriptions().map(({ patterns }) => patterns)).toEqual([["a"]]);
  });

  it("that exits once it has closed its client is not lost", async () => {
    const { peer: starting, worker } = startThread(openBroker());
    const peer = await starting;
    await peer.do("subscribe", { pattern: "a" });
    const lost = new Collector<unknown>();
    peer.handle.on("worker-lost", lost.add);
    const exit = once(worker, "exit");
    peer.tell("closeAndExit");
    expect(await exit).toEqual([0]);
    await peer.handle.closed;
    expect(lost.items).toEqual([]);
  });

  it("may connect before the broker is exposed", async () => {
    const broker = openBroker();
    const worker = new Worker(script);
    onTestFinished(async () => {
      await worker.terminate();
    });
    // Its request to connect comes while nobody of ours listens.
    await once(worker, "message");
    const peer = new Peer(
      (listener) => worker.on("message", listener),
      (message) => worker.postMessage(message),
      exposeBroker(broker, worker),
    );
    await peer.do("subscribe", { pattern: "a" });
    expect(peer.handle.stats().clients).toBe(1);
    expect((await broker.publish("a", 1)).matched).toBe(1);
  });

  it("may ask for what cannot be cloned before there is a channel, and be refused", async () => {
    const worker = new Worker(new URL("./modules/early.mjs", import.meta.url));
    onTestFinished(async () => {
      await worker.terminate();
    });
    const said = new Collector<unknown>();
    // Its requests to connect come this way, too.
    worker.on("message", (message: object) => "codes" in message && said.add(message));
    exposeBroker(openBroker(), worker);
    expect(await said.until(1)).toEqual([{ codes: ["ERR_INVALID_MESSAGE", "ok"], data: [1], left: 0 }]);
  });

  // How each dies, and what the handle says of it.
  const deaths: [string, (peer: Peer, worker: Worker, broker: InProcBroker) => void, Partial<WorkerLostEvent>][] = [
    ["exits", (peer) => peer.tell("exit"), { reason: "exit", exitCode: 0 }],
    ["throws", (peer) => peer.tell("throw"), { reason: "error", exitCode: 1, error: new RangeError("worker trouble") }],
    ["is terminated", (_peer, worker) => void worker.terminate(), { reason: "exit", exitCode: 1 }],
  ];
  for (const [name, die, expected] of deaths) {
    it(`that ${name} returns what it had to the group at once`, async () => {
      const broker = openBroker({ ack: { timeout: 600_000 } });
      const { peer: starting, worker } = startThread(broker);
      const peer = await starting;
      await peer.do("subscribe", { pattern: "a", hold: true, options: { group: "g", concurrency: 3 } });
      for (const data of [1, 2, 3]) await broker.publish("a", data);
      await peer.got.until(3);
      const others = new Collector<unknown>();
      broker.subscribe("a", ({ data, deliveryCount }) => others.add([data, deliveryCount]), { group: "g" });
      const { threadId } = worker;
      const [lost, told] = [peer.lost(), nextLost(broker)];
      die(peer, worker, broker);
      expect((await others.until(3)).sort()).toEqual([
        [1, 2],
        [2, 2],
        [3, 2],
      ]);
      const as = { worker: "thread", threadId, pid: undefined, signal: undefined, pool: undefined, slot: undefined };
      expect(await lost).toEqual({ error: undefined, ...as, ...expected, returned: 3, subscriptions: 1 });
      expect(await told).toBe(await lost);
      await peer.handle.closed;
      expect(broker.subscriptions()).toMatchObject([{ consumers: 1, inFlight: 0 }]);
      expect(worker.listenerCount("exit")).toBe(0);
    });
  }

  it("that hangs gets nothing more after the ack timeout, and what it had returns to the group", async () => {
    const broker = openBroker({ ack: { timeout: 100, backoff: () => 0 } });
    const { peer: starting, worker } = startThread(broker, { hangTimeout: Infinity });
    const peer = await starting;
    await peer.do("subscribe", { pattern: "a", options: { group: "g" } });
    const silent = once(peer.handle, "worker-silent");
    await broker.publish("a", "hang");
    await peer.got.until(1);
    const others = new Collector<unknown>();
    await silent;
    broker.subscribe("a", ({ data }) => others.add(data), { group: "g" });
    for (const data of [1, 2, 3, 4]) await broker.publish("a", data);
    expect((await others.until(5)).map(String).sort()).toEqual(["1", "2", "3", "4", "hang"]);
    await broker.idle();
    expect(peer.got.items).toEqual(["hang"]);
    await worker.terminate();
    expect(peer.handle.state).toBe("closed");
  });

  it("that goes on hanging is lost, and its subscriptions go", async () => {
    const broker = openBroker({ ack: { timeout: 50, backoff: () => 0 } });
    const { peer: starting, worker } = startThread(broker, { hangTimeout: 50 });
    const peer = await starting;
    await peer.do("subscribe", { pattern: "a", options: { group: "g" } });
    await peer.do("subscribe", { pattern: "b" });
    const others = new Collector<unknown>();
    broker.subscribe("a", ({ data }) => others.add(data), { group: "g" }).pause();
    const told = nextLost(broker);
    await broker.publish("a", "hang");
    const { threadId } = worker;
    expect(await told).toMatchObject({ worker: "thread", reason: "hang", threadId, exitCode: undefined });
    expect(await told).toMatchObject({ returned: 0, subscriptions: 2 });
    expect(broker.subscriptions()).toMatchObject([{ patterns: ["a"], consumers: 1 }]);
    expect(peer.handle.stats()).toMatchObject({ clients: 0, subscriptions: 0 });
    // The thread itself is the program's, which may end it; nobody is lost twice.
    expect(peer.handle.state).toBe("open");
    const again = new Collector<unknown>();
    broker.on("worker-lost", again.add);
    await worker.terminate();
    await peer.handle.closed;
    expect(again.items).toEqual([]);
    expect(worker.listenerCount("exit")).toBe(0);
  });

  it("that comes back too late finds its client closed, and may connect again", async () => {
    const broker = openBroker({ ack: { timeout: 50, backoff: () => 0 } });
    const { peer: starting } = startThread(broker, { hangTimeout: 50 });
    const peer = await starting;
    await peer.do("subscribe", { pattern: "a" });
    const told = nextLost(broker);
    const wake = new Int32Array(new SharedArrayBuffer(4));
    await broker.publish("a", { wait: wake });
    await told;
    Atomics.store(wake, 0, 1);
    Atomics.notify(wake, 0);
    await peer.do("reconnect");
    expect(peer.got.items.at(-1)).toMatchObject({ code: "ERR_BROKER_CLOSED", hangTimeout: 50 });
    await peer.do("subscribe", { pattern: "b" });
    await broker.publish("b", 7);
    await peer.got.until(3);
    expect(peer.got.items.at(-1)).toBe(7);
  });

  it("that dies of an error nobody hears of: that is an error of the broker", async () => {
    const broker = openBroker();
    const { peer: starting } = startThread(broker);
    const peer = await starting;
    const errors = new Collector<unknown[]>();
    broker.on("error", (...told) => errors.add(told));
    peer.tell("throw");
    expect(await errors.until(1)).toEqual([[new RangeError("worker trouble"), { during: "worker" }]]);
    await peer.handle.closed;
  });

  it("that is not exposed to any more lives on", async () => {
    const broker = openBroker();
    const { peer: starting, worker } = startThread(broker);
    const peer = await starting;
    await peer.do("subscribe", { pattern: "a" });
    expect(() => exposeBroker(openBroker(), worker)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
    await peer.handle.close();
    await exposeBroker(openBroker(), worker).close();
    expect((await broker.publish("a", 1)).matched).toBe(0);
    expect(worker.threadId).toBeGreaterThan(0);
    expect(peer.handle.stats()).toMatchObject({ clients: 0, subscriptions: 0, inFlight: 0 });
  });
});

describe("a child process", () => {
  it("uses the broker over IPC, and is told when it dies", async () => {
    const broker = openBroker({ ack: { timeout: 600_000 } });
    const child = fork(script, { serialization: "advanced" });
    onTestFinished(() => void child.kill("SIGKILL"));
    const handle = exposeBroker(broker, child);
    const peer = await new Peer(
      (listener) => child.on("message", listener as never),
      (message) => void child.send(message as object),
      handle,
    ).up();
    const seen = new Collector<unknown>();
    broker.subscribe("a", ({ data }) => seen.add(data));
    await peer.do("publish", { topic: "a", data: { at: new Date(5), bytes: new Uint8Array([1]) } });
    expect(await seen.until(1)).toEqual([{ at: new Date(5), bytes: new Uint8Array([1]) }]);
    await peer.do("subscribe", { pattern: "b", hold: true, options: { group: "g" } });
    await broker.publish("b", 1);
    await peer.got.until(1);
    const others = new Collector<unknown>();
    broker.subscribe("b", ({ data }) => others.add(data), { group: "g" });
    const [lost, told] = [peer.lost(), nextLost(broker)];
    child.kill("SIGKILL");
    expect(await others.until(1)).toEqual([1]);
    const { pid } = child;
    expect(await lost).toMatchObject({ worker: "process", pid, threadId: undefined, exitCode: undefined });
    expect(await lost).toMatchObject({ reason: "exit", signal: "SIGKILL", returned: 1, subscriptions: 1 });
    expect(await told).toBe(await lost);
    expect(child.listenerCount("message")).toBe(1);
  });

  it("ends by itself once it has closed its client", async () => {
    const broker = openBroker();
    const child = fork(script, { serialization: "advanced" });
    const handle = exposeBroker(broker, child);
    const peer = await new Peer(
      (listener) => child.on("message", listener as never),
      (message) => void child.send(message as object),
      handle,
    ).up();
    await peer.do("subscribe", { pattern: "b" });
    const exit = once(child, "exit");
    await peer.do("close");
    expect(await exit).toEqual([0, null]);
    await handle.closed;
    expect(broker.subscriptions()).toEqual([]);
  });

  it("without advanced serialization is refused, with what to do", async () => {
    const broker = openBroker();
    const child = fork(script, { stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const text: string[] = [];
    child.stderr?.on("data", (chunk: Buffer) => text.push(String(chunk)));
    exposeBroker(broker, child);
    child.send({ action: "subscribe", argument: { pattern: "a" } });
    await once(child, "close");
    expect(text.join("")).toContain('serialization: "advanced"');
  });

  it("may be the one that has the broker", async () => {
    const child = fork(new URL("./modules/host.mjs", import.meta.url), { serialization: "advanced" });
    onTestFinished(() => void child.kill("SIGKILL"));
    const client = connectBroker(child);
    expect(await client.request("double", 21)).toBe(42);
    const exit = once(child, "exit");
    await client.close();
    expect(await exit).toEqual([0, null]);
  });

  it("may be a worker of a cluster", async () => {
    const primary = fork(new URL("./modules/cluster.mjs", import.meta.url));
    onTestFinished(() => void primary.kill("SIGKILL"));
    const exit = once(primary, "exit");
    expect((await once(primary, "message"))[0]).toEqual({ workers: 2 });
    expect(await exit).toEqual([0, null]);
  });
});
