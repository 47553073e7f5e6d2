// @ts-check
/** The worker of `main.mjs`. */
import { servePool } from "inproc-broker/worker";

await servePool(({ data }, { broker }) => broker.publish("doubled", 2 * /** @type {number} */ (data)));
