/**
 * inproc-broker/worker: one broker for worker threads, child processes and cluster workers.
 *
 * @packageDocumentation
 */

export type { Allow } from "./allow-list.js";
export type { ConnectOptions } from "./connect.js";
export { connectBroker } from "./connect.js";
export type { ExposedBrokerEvents, ExposedBrokerStats } from "./expose.js";
export { ExposedBroker, exposeBroker } from "./expose.js";
export type { ExposeOptions, ExposeTarget } from "./expose-options.js";
export type { PoolCloseOptions, WorkerPoolEvents } from "./pool.js";
export { WorkerPool, workerPool } from "./pool.js";
export type { WorkerPoolOptions } from "./pool-options.js";
export type { PoolWorkerStats, WorkerPoolStats } from "./pool-stats.js";
export type { PoolWorkerState } from "./pool-worker.js";
export type { IpcChannel } from "./process-link.js";
export type { WorkerPublishOptions } from "./client-publishing.js";
export type { RemoteBrokerState, RemoteBrokerStats } from "./remote-broker.js";
export { RemoteBroker } from "./remote-broker.js";
export { RemoteSubscription } from "./remote-subscription.js";
export type { WorkerLostEvent } from "../index.js";
export type { WorkerSubscribeOptions } from "./subscribe-options.js";
export type { PoolContext, PoolHandler } from "./serve-pool.js";
export { servePool } from "./serve-pool.js";
