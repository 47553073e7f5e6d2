import { describe, expectTypeOf, it } from "vitest";
import type { Worker } from "node:worker_threads";
import type { Broker, InProcBroker } from "inproc-broker";
import { exposeBroker, workerPool } from "inproc-broker/worker";
import type { ExposedBroker, WorkerPool } from "inproc-broker/worker";

interface Topics {
  "images.uploaded": { readonly path: string };
  "thumbnails.*": Uint8Array;
}

declare const typed: InProcBroker<Topics>;
declare const port: Broker<Topics>;
declare const untyped: InProcBroker;
declare const worker: Worker;
declare const module: URL;

describe("workers", () => {
  it("are given a broker whatever its topics are typed with", () => {
    for (const exposed of [exposeBroker(typed, worker), exposeBroker(port, worker), exposeBroker(untyped, worker)]) {
      expectTypeOf(exposed).toEqualTypeOf<ExposedBroker>();
    }
    expectTypeOf(workerPool(typed, "images.*", module)).toEqualTypeOf<WorkerPool>();
    expectTypeOf(workerPool(port, "images.*", module)).toEqualTypeOf<WorkerPool>();
    expectTypeOf(workerPool(untyped, "images.*", module, { size: 2 })).toEqualTypeOf<WorkerPool>();
    // @ts-expect-error -- no broker
    exposeBroker({}, worker);
  });
});
